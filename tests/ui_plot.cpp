// Plots and the report: axes, hostile and empty data, escaping, and that what comes out is well-formed and
// needs nothing from outside.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "core/files.h"
#include "experiments/html_report.h"
#include "experiments/plot.h"
#include "experiments/plot_canvas.h"
#include "experiments/plot_scale.h"
#include "kernels/error.h"

using namespace dw;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double missing = std::numeric_limits<double>::quiet_NaN();

Extent extent_of(std::vector<double> values) {
  Extent extent;
  for (const double value : values) extent.include(value);
  return extent;
}

std::vector<std::string> labels(const Scale& scale) {
  std::vector<std::string> result;
  for (const auto& tick : scale.ticks()) result.push_back(tick.label);
  return result;
}

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

// The first fault in the nesting of tags, or "".
std::string nesting_fault(const std::string& markup) {
  std::vector<std::string> open;
  for (size_t at = markup.find('<'); at != std::string::npos; at = markup.find('<', at + 1)) {
    const size_t end = markup.find('>', at);
    if (end == std::string::npos) return "unclosed tag";
    const std::string tag = markup.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" /\n", 1));
    if (tag.starts_with("!") || tag.ends_with("/") || name == "meta" || name == "img") continue;
    if (!tag.starts_with("/")) {
      open.push_back(name);
    } else if (open.empty() || "/" + open.back() != name) {
      return "unexpected <" + tag + ">";
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : "open <" + open.back() + ">";
}

// What must hold for every picture.
void check_svg(const std::string& svg) {
  CHECK(nesting_fault(svg) == "");
  CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\""));
  CHECK(count(svg, "<title>") >= 1);
  CHECK(count(svg, "<desc>") == 1);
  CHECK(count(svg, "http") == 1);
  CHECK(count(svg, " id=") == 0);
  for (const char* attribute : {"=\"nan", "=\"-nan", "=\"inf", "=\"-inf", "Mnan", "Lnan", ",nan", ",inf"})
    CHECK_MESSAGE(count(svg, attribute) == 0, attribute);
}

Chart one_line(std::vector<double> x, std::vector<double> y) {
  return {.figure = {.title = "t", .description = "d"},
          .x = {.label = "x"},
          .y = {.label = "y"},
          .series = {{.name = "a", .x = std::move(x), .y = std::move(y)}}};
}

}  // namespace

TEST_CASE("ui plot: linear ticks are round and inside") {
  const Scale scale(extent_of({0.3, 9.7}), {.wanted_ticks = 5});
  CHECK(labels(scale) == std::vector<std::string>{"2", "4", "6", "8"});
  CHECK(scale.position(0.3) == doctest::Approx(0));
  CHECK(scale.position(9.7) == doctest::Approx(1));
  const Scale wide(extent_of({0.3, 9.7}), {.wanted_ticks = 5, .widen = true});
  CHECK(labels(wide) == std::vector<std::string>{"0", "2", "4", "6", "8", "10"});
  CHECK(wide.position(5) == doctest::Approx(0.5));
  const Scale whole(extent_of({1, 3}), {.wanted_ticks = 9, .whole_steps = true});
  CHECK(labels(whole) == std::vector<std::string>{"1", "2", "3"});
  const Scale negative(extent_of({-0.25, 0.25}), {.wanted_ticks = 5});
  CHECK(labels(negative) == std::vector<std::string>{"−0.2", "−0.1", "0.0", "0.1", "0.2"});
}

TEST_CASE("ui plot: logarithmic ticks") {
  const Scale decades(extent_of({0.002, 300}),
                      {.kind = Scale::Kind::logarithmic, .wanted_ticks = 6, .widen = true});
  CHECK(labels(decades) == std::vector<std::string>{"0.001", "0.01", "0.1", "1", "10", "100", "1,000"});
  CHECK(decades.position(1) == doctest::Approx(0.5));
  CHECK(std::isnan(decades.position(0)));
  CHECK(std::isnan(decades.position(-1)));
  const Scale narrow(extent_of({15, 80}), {.kind = Scale::Kind::logarithmic});
  CHECK(labels(narrow) == std::vector<std::string>{"20", "50"});
  const Scale tiny(extent_of({1e-80, 1}), {.kind = Scale::Kind::logarithmic, .wanted_ticks = 5});
  CHECK(tiny.ticks().size() <= 7);
  CHECK(tiny.ticks().front().label == "10⁻⁸⁰");
}

TEST_CASE("ui plot: axes survive single, equal, missing and extreme values") {
  for (const auto kind : {Scale::Kind::linear, Scale::Kind::logarithmic})
    for (const auto& values : std::vector<std::vector<double>>{{},
                                                               {0},
                                                               {5, 5},
                                                               {-3},
                                                               {missing, infinity},
                                                               {-1e299, 1e299},
                                                               {1e-300, 2e-300},
                                                               {1, 1 + 1e-15},
                                                               {-2, 0}}) {
      CAPTURE(values);
      const Scale scale(extent_of(values), {.kind = kind, .wanted_ticks = 5, .widen = true});
      CHECK(scale.lowest() < scale.highest());
      CHECK(scale.ticks().size() < 20);
      CHECK(std::isnan(scale.position(missing)));
      CHECK(std::isnan(scale.position(infinity)));
    }
}

TEST_CASE("ui plot: numbers on ticks") {
  CHECK(format_tick(0, 0.1) == "0.0");
  CHECK(format_tick(-1e-18, 0.1) == "0.0");
  CHECK(format_tick(12500, 500) == "12,500");
  CHECK(format_tick(-0.25, 0.05) == "−0.25");
  CHECK(format_tick(3.2e-5, 1e-6) == "3.2×10⁻⁵");
  CHECK(format_tick(1e9, 1e9) == "10⁹");
  CHECK(format_tick(missing, 1) == "–");
  CHECK(format_tick(-infinity, 1) == "−∞");
}

TEST_CASE("ui plot: the normal distribution's quantiles") {
  CHECK(normal_quantile(0.5) == doctest::Approx(0).epsilon(1e-15));
  CHECK(normal_quantile(0.975) == doctest::Approx(1.959963984540054).epsilon(1e-13));
  CHECK(normal_quantile(1e-10) == doctest::Approx(-6.361340902404056).epsilon(1e-12));
  CHECK(normal_quantile(0.01) == doctest::Approx(-normal_quantile(0.99)).epsilon(1e-13));
  CHECK(normal_quantile(0) == -infinity);
  CHECK(normal_quantile(1) == infinity);
  CHECK(std::isnan(normal_quantile(1.5)));
  CHECK(std::isnan(normal_quantile(missing)));
}

TEST_CASE("ui plot: a line starts anew after a gap") {
  CHECK(line_path({{1, 2}, {3, 4}, {5, missing}, {6, 7}, {8, 9.25}}) == "M1,2L3,4M6,7L8,9.2");
  CHECK(line_path({{1, 2}, {missing, 4}, {5, 6}}) == "");
  CHECK(line_path({}) == "");
}

TEST_CASE("ui plot: a lone point between gaps is still seen") {
  CHECK(count(plot(one_line({1, 2, 3}, {1, missing, 3})), "class=\"s0 dot\"") == 2);
  CHECK(count(plot(one_line({1, 2, 3}, {1, 2, 3})), "class=\"s0 dot\"") == 0);
}

TEST_CASE("ui plot: charts survive whatever data they get") {
  for (const bool logarithmic : {false, true})
    for (const auto& y : std::vector<std::vector<double>>{{},
                                                          {1},
                                                          {0, 0, 0},
                                                          {missing, missing},
                                                          {1e308, -1e308},
                                                          {infinity, 1, -infinity},
                                                          {-1, -2},
                                                          {1e-320, 1}}) {
      CAPTURE(y);
      std::vector<double> x(y.size());
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i);
      Chart chart = one_line(x, y);
      chart.x.logarithmic = chart.y.logarithmic = logarithmic;
      chart.series[0].low = chart.series[0].high = y;
      chart.horizontal = {{missing, "n"}, {0, "zero"}};
      chart.vertical = {{-infinity, "i"}};
      check_svg(plot(chart));
      check_svg(plot(BarChart{.figure = {.title = "t", .description = "d"},
                              .y = {.label = "y", .logarithmic = logarithmic},
                              .groups = std::vector<std::string>(y.size(), "group"),
                              .series = {{"a", y}, {"b", y}}}));
      check_svg(plot(Histogram{.figure = {.title = "t", .description = "d"},
                               .x = {.label = "x"},
                               .name = "a",
                               .samples = y,
                               .density = [](double) { return missing; }}));
      check_svg(plot(QuantilePlot{.figure = {.title = "t", .description = "d"},
                                  .expected_label = "e",
                                  .observed_label = "o",
                                  .samples = y,
                                  .quantile = normal_quantile}));
    }
  CHECK(count(plot(one_line({}, {})), ">no data<") == 1);
  CHECK(count(plot(one_line({1, 2}, {1, 2})), ">no data<") == 0);
}

TEST_CASE("ui plot: sizes that do not agree are refused") {
  CHECK_THROWS_AS(plot(one_line({1, 2}, {1})), Error);
  Chart chart = one_line({1, 2}, {1, 2});
  chart.series[0].low = {1};
  CHECK_THROWS_AS(plot(chart), Error);
  chart = one_line({1, 2}, {1, 2});
  chart.y.lowest = 5;
  chart.y.highest = 4;
  CHECK_THROWS_AS(plot(chart), Error);
  CHECK_THROWS_AS(plot(BarChart{.figure = {}, .y = {}, .groups = {"a", "b"}, .series = {{"s", {1}}}}), Error);
  CHECK_THROWS_AS(plot(QuantilePlot{}), Error);
}

TEST_CASE("ui plot: text is escaped everywhere") {
  Chart chart = one_line({1, 2}, {1, 2});
  const std::string hostile = "<script>\"&'";
  chart.figure = {.title = hostile, .description = hostile};
  chart.x.label = chart.y.label = hostile;
  chart.series.push_back(chart.series[0]);
  chart.series[0].name = chart.series[1].name = hostile;
  chart.horizontal = {{1.5, hostile}};
  chart.vertical = {{1.5, hostile}};
  const std::string svg = plot(chart);
  check_svg(svg);
  CHECK(count(svg, "<script") == 0);
  CHECK(count(svg, "&lt;script&gt;&quot;&amp;&#39;") == 9);
}

TEST_CASE("ui plot: a histogram's bars have the samples' shares") {
  const std::string svg = plot(Histogram{.figure = {.title = "t", .description = "d"},
                                         .x = {.label = "x"},
                                         .name = "a",
                                         .samples = {0, 0.1, 0.2, 1, missing},
                                         .bins = 2});
  std::vector<double> heights;
  for (size_t at = svg.find("<rect"); at != std::string::npos; at = svg.find("<rect", at + 1))
    heights.push_back(std::stod(svg.substr(svg.find("height=\"", at) + 8)));
  REQUIRE(heights.size() == 2);
  CHECK(heights[0] == doctest::Approx(3 * heights[1]).epsilon(0.01));
}

TEST_CASE("ui plot: two series are named beside the lines, many above") {
  Chart chart = one_line({1, 2}, {1, 2});
  chart.series.push_back({.name = "upper", .x = {1, 2}, .y = {1, 2.001}});
  const std::string beside = plot(chart);
  const auto height_of = [](const std::string& svg, const std::string& name) {
    const size_t text = svg.rfind("<text", svg.find(">" + name + "<"));
    return std::stod(svg.substr(svg.find("y=\"", text) + 3));
  };
  // Almost the same end: the labels keep apart, in the order of the lines.
  CHECK(height_of(beside, "a") - height_of(beside, "upper") >= 15);
  for (int i = 0; i < 20; ++i) chart.series.push_back(chart.series[0]);
  CHECK(height_of(plot(chart), "upper") < 60);
}

TEST_CASE("ui plot: a file of its own carries its style") {
  const std::string svg = standalone_svg(plot(one_line({1, 2}, {1, 2})));
  CHECK(svg.starts_with("<svg"));
  CHECK(count(svg, "<style>") == 1);
  CHECK_THROWS_AS(standalone_svg("text"), Error);
}

TEST_CASE("ui report: one well-formed page without scripts or outside references") {
  HtmlReport report("Whose <network>?");
  report.lead("All `256 bits` & a lone ` here");
  report.verdict(Tone::good, "OWNED", "at odds of `2^-255`");
  report.verdict(Tone::bad, "NOT PROVEN");
  for (const char* title : {"One", "Two <b>", "Three"}) report.section(title);
  Table table({"network", "accuracy"});
  table.add_row({"<i>", "67.6 %"});
  table.add_row({"b", "—"});
  const std::vector<size_t> highlighted{1};
  report.table(table, "caption", highlighted);
  report.plot(plot(one_line({1, 2}, {1, 2})), "see");
  const std::vector<std::pair<std::string, std::string>> facts{{"Command", "`deepwater <x>`"}};
  report.facts("How", facts);
  const std::vector<Picture> pictures{{.png = "foo", .caption = "c", .description = "\"d\""}};
  report.pictures(pictures);
  report.code("$ a < b");
  report.details("Raw", "{\"a\": \"</pre><script>\"}");

  const std::string html = report.html();
  CHECK(nesting_fault(html) == "");
  CHECK(html.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
  CHECK(count(html, "<script") == 0);
  CHECK(count(html, "http") == 1);  // the SVG namespace
  CHECK(count(html, "<title>Whose &lt;network&gt;?</title>") == 1);
  CHECK(count(html, "All <code>256 bits</code> &amp; a lone ` here") == 1);
  CHECK(count(html, "class=\"verdict good\"") == 1);
  CHECK(count(html, "class=\"verdict bad\"") == 1);
  CHECK(count(html, "<tr class=\"marked\"><td>b</td>") == 1);
  CHECK(count(html, "<td class=\"n\">67.6 %</td>") == 1);
  CHECK(count(html, "src=\"data:image/png;base64,Zm9v\"") == 1);
  CHECK(html.find("OWNED") < html.find("<nav"));
  CHECK(html.find("<nav") < html.find("<h2"));
}

TEST_CASE("ui report: written whole or not at all") {
  HtmlReport report("t");
  const auto path = std::filesystem::temp_directory_path() /
                    ("deepwater-report-" + std::to_string(reinterpret_cast<uintptr_t>(&report)) + ".html");
  report.write(path);
  CHECK(read_text_file(path) == report.html());
  std::filesystem::remove(path);
  CHECK_THROWS_AS(report.write("/dev/null/report.html"), Error);
}
