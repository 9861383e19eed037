#include "experiments/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "experiments/plot_canvas.h"
#include "experiments/plot_scale.h"
#include "experiments/text.h"
#include "kernels/error.h"

namespace dw {
namespace {

constexpr double pixels_per_x_tick = 90;
constexpr double pixels_per_y_tick = 48;

bool visible(double value, bool logarithmic) {
  return std::abs(value) < largest_plotted && (!logarithmic || value > 0);
}

Scale make_scale(const Axis& axis, Extent extent, double pixels, double pixels_per_tick, bool widen,
                 bool whole_steps = false) {
  if (axis.lowest) extent.lowest = *axis.lowest;
  if (axis.highest) extent.highest = *axis.highest;
  if (axis.lowest && axis.highest) extent.empty = false;
  require(extent.empty || extent.lowest <= extent.highest, "the axis '{}' runs from {} to {}", axis.label,
          extent.lowest, extent.highest);
  return Scale(extent, {.kind = axis.logarithmic ? Scale::Kind::logarithmic : Scale::Kind::linear,
                        .wanted_ticks = static_cast<int>(pixels / pixels_per_tick),
                        .whole_steps = whole_steps,
                        .widen = widen && !(axis.lowest && axis.highest)});
}

void check(const Series& series) {
  require(series.x.size() == series.y.size(), "series '{}' has {} x and {} y", series.name, series.x.size(),
          series.y.size());
  require(
      series.low.size() == series.high.size() && (series.low.empty() || series.low.size() == series.x.size()),
      "the band of series '{}' has {} low and {} high for {} x", series.name, series.low.size(),
      series.high.size(), series.x.size());
}

bool all_whole(const std::vector<Series>& series) {
  for (const auto& one : series)
    for (const double x : one.x)
      if (std::isfinite(x) && x != std::floor(x)) return false;
  return true;
}

Point place(const Frame& frame, double x, double y) {
  return {frame.x(x), frame.y(y)};
}

// A closed outline for each stretch without gaps.
std::string band_path(const Frame& frame, const Series& series) {
  std::string path;
  std::vector<Point> upper, lower;
  const auto close = [&] {
    if (upper.size() > 1) {
      upper.insert(upper.end(), lower.rbegin(), lower.rend());
      path += line_path(upper) + "Z";
    }
    upper.clear();
    lower.clear();
  };
  for (size_t i = 0; i < series.low.size(); ++i) {
    const Point high = place(frame, series.x[i], series.high[i]);
    const Point low = place(frame, series.x[i], series.low[i]);
    if (std::isfinite(high.x) && std::isfinite(high.y) && std::isfinite(low.y)) {
      upper.push_back(high);
      lower.push_back(low);
    } else {
      close();
    }
  }
  close();
  return path;
}

void draw_series(const Frame& frame, Canvas& canvas, const Series& series, size_t index) {
  std::vector<Point> points;
  for (size_t i = 0; i < series.x.size(); ++i) points.push_back(place(frame, series.x[i], series.y[i]));
  canvas.path(band_path(frame, series), series_class(index, "band"));
  if (series.line)
    canvas.path(line_path(points), series_class(index, series.dashed ? "line dashed" : "line"));
  const auto hidden = [&](size_t i) {
    return i >= points.size() || !std::isfinite(points[i].x) || !std::isfinite(points[i].y);
  };
  for (size_t i = 0; i < points.size(); ++i) {
    // A point between two gaps has no line: without a marker it would vanish.
    const bool lonely = hidden(i - 1) && hidden(i + 1);
    if (series.markers || (series.line && lonely))
      canvas.marker(points[i], index, series_class(index, "dot"));
  }
}

// Where the last visible value lies, for the label beside it.
double end_position(const Series& series, const Scale& scale) {
  for (size_t i = series.y.size(); i-- > 0;)
    if (const double position = scale.position(series.y[i]); std::isfinite(position)) return position;
  return 0;
}

// Three significant digits, with a proper minus.
std::string short_number(double value) {
  return (value < 0 ? "−" : "") + fmt::format("{:.3g}", std::abs(value));
}

// Words of `label` on as many lines as needed, each at most `width` pixels.
std::vector<std::string> wrap(const std::string& label, double width, size_t most_lines) {
  const auto columns = static_cast<size_t>(std::max(3.0, width / text_width("x")));
  std::vector<std::string> lines;
  std::string line;
  for (size_t start = 0; start < label.size();) {
    const size_t end = std::min(label.find(' ', start), label.size());
    const std::string word = label.substr(start, end - start);
    start = end + 1;
    if (!line.empty() && display_width(line) + 1 + display_width(word) > columns) {
      lines.push_back(line);
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  lines.push_back(line);
  if (lines.size() > most_lines) {
    lines.resize(most_lines);
    lines.back() += "…";
  }
  for (auto& one : lines) one = fit_width(one, columns);
  return lines;
}

}  // namespace

std::string plot(const Chart& chart) {
  Extent x_extent, y_extent;
  bool points_only = true;
  for (const auto& series : chart.series) {
    check(series);
    points_only &= !series.line;
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!visible(series.x[i], chart.x.logarithmic) || !visible(series.y[i], chart.y.logarithmic)) continue;
      x_extent.include(series.x[i]);
      y_extent.include(series.y[i]);
      if (series.low.empty()) continue;
      y_extent.include(series.low[i], chart.y.logarithmic);
      y_extent.include(series.high[i], chart.y.logarithmic);
    }
  }
  const bool no_data = x_extent.empty;
  for (const auto& threshold : chart.horizontal) y_extent.include(threshold.value, chart.y.logarithmic);
  for (const auto& threshold : chart.vertical) x_extent.include(threshold.value, chart.x.logarithmic);

  const bool whole = all_whole(chart.series) && !chart.x.logarithmic;
  const Scale x_scale =
      make_scale(chart.x, x_extent, chart.figure.width, pixels_per_x_tick, points_only, whole);
  const Scale y_scale = make_scale(chart.y, y_extent, chart.figure.height, pixels_per_y_tick, true);
  std::vector<LegendEntry> legend;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const Series& series = chart.series[i];
    legend.push_back({.name = series.name,
                      .index = i,
                      .line = series.line,
                      .marker = series.markers,
                      .dashed = series.dashed,
                      .end = end_position(series, y_scale)});
  }
  Frame frame({.figure = chart.figure,
               .x = chart.x,
               .y = chart.y,
               .x_scale = &x_scale,
               .y_scale = &y_scale,
               .legend = std::move(legend),
               .labels_beside = !points_only});
  if (no_data) frame.no_data();

  Canvas data;
  for (size_t i = 0; i < chart.series.size(); ++i) draw_series(frame, data, chart.series[i], i);
  // A margin, so that markers on the edge stay whole.
  constexpr double margin = 5;
  frame.canvas().clipped({frame.left() - margin, frame.top() - margin},
                         frame.right() - frame.left() + 2 * margin, frame.bottom() - frame.top() + 2 * margin,
                         data);
  for (const auto& threshold : chart.horizontal) frame.horizontal_threshold(threshold);
  for (size_t i = 0; i < chart.vertical.size(); ++i) frame.vertical_threshold(chart.vertical[i], i);
  return frame.svg();
}

std::string plot(const BarChart& chart) {
  Extent extent;
  size_t shown = 0;
  for (const auto& series : chart.series) {
    require(series.values.size() == chart.groups.size(), "bars '{}' have {} values for {} groups",
            series.name, series.values.size(), chart.groups.size());
    for (const double value : series.values) {
      extent.include(value, chart.y.logarithmic);
      shown += visible(value, chart.y.logarithmic);
    }
  }
  for (const auto& threshold : chart.horizontal) extent.include(threshold.value, chart.y.logarithmic);
  if (!chart.y.logarithmic) extent.include(0);
  const Scale scale = make_scale(chart.y, extent, chart.figure.height, pixels_per_y_tick, true);

  std::vector<LegendEntry> legend;
  for (size_t i = 0; i < chart.series.size(); ++i)
    legend.push_back({.name = chart.series[i].name, .index = i, .area = true});
  const double groups = std::max(1.0, static_cast<double>(chart.groups.size()));
  // The frame's side margins are not known yet; 60 pixels are close.
  constexpr size_t most_lines = 3;
  const double label_width = (chart.figure.width - 60) / groups - 8;
  size_t label_lines = 0;
  for (const auto& group : chart.groups)
    label_lines = std::max(label_lines, wrap(group, label_width, most_lines).size());

  const Axis unlabelled;
  const double room_for_values = scale.lowest() < 0 && !chart.y.logarithmic ? 12 : 0;
  Frame frame({.figure = chart.figure,
               .x = unlabelled,
               .y = chart.y,
               .y_scale = &scale,
               .legend = std::move(legend),
               .room_above = 12,
               .room_below = room_for_values + 14.0 * static_cast<double>(label_lines)});
  if (shown == 0) frame.no_data();

  const double group_width = (frame.right() - frame.left()) / groups;
  const double bars = std::max(1.0, static_cast<double>(chart.series.size()));
  const double bar_width = std::min(48.0, 0.8 * group_width / bars);
  const double base = chart.y.logarithmic ? frame.bottom() : frame.y(std::max(0.0, scale.lowest()));
  for (size_t g = 0; g < chart.groups.size(); ++g) {
    const double middle = frame.left() + group_width * (static_cast<double>(g) + 0.5);
    const auto lines = wrap(chart.groups[g], label_width, most_lines);
    for (size_t k = 0; k < lines.size(); ++k)
      frame.canvas().text({middle, frame.bottom() + room_for_values + 16 + 14 * static_cast<double>(k)},
                          Anchor::middle, "tick", lines[k]);
    for (size_t s = 0; s < chart.series.size(); ++s) {
      const double value = chart.series[s].values[g];
      if (!visible(value, chart.y.logarithmic)) continue;
      const double at = std::clamp(frame.y(value), frame.top(), frame.bottom());
      const double x = middle + bar_width * (static_cast<double>(s) - bars / 2);
      frame.canvas().rectangle({x + 1, std::min(at, base)}, bar_width - 2, std::abs(at - base),
                               series_class(s, "bar"),
                               fmt::format("{}, {}: {:.4g}", chart.groups[g], chart.series[s].name, value));
      const std::string rounded = std::abs(value) < 1000 ? short_number(value) : format_tick(value, 1);
      if (text_width(rounded) <= bar_width + 6)
        frame.canvas().text({x + bar_width / 2, value < 0 ? at + 13 : at - 4}, Anchor::middle, "value",
                            rounded);
    }
  }
  frame.canvas().line({frame.left(), base}, {frame.right(), base}, "base");
  for (const auto& threshold : chart.horizontal) frame.horizontal_threshold(threshold);
  return frame.svg();
}

std::string plot(const Histogram& histogram) {
  std::vector<double> samples;
  for (const double value : histogram.samples)
    if (visible(value, false)) samples.push_back(value);
  std::sort(samples.begin(), samples.end());
  Extent x_extent;
  for (const double value : samples) x_extent.include(value);
  for (const auto& threshold : histogram.vertical) x_extent.include(threshold.value);
  const Scale x_scale = make_scale(histogram.x, x_extent, histogram.figure.width, pixels_per_x_tick, false);

  const double first = samples.empty() ? 0 : std::max(samples.front(), x_scale.lowest());
  double last = samples.empty() ? 1 : std::min(samples.back(), x_scale.highest());
  if (!(last > first)) last = first + (x_scale.highest() - x_scale.lowest()) / 20;
  size_t bins = histogram.bins;
  if (bins == 0) {
    const auto quartile = [&](size_t k) { return samples.empty() ? 0.0 : samples[samples.size() * k / 4]; };
    const double width =
        2 * (quartile(3) - quartile(1)) / std::cbrt(std::max<double>(1, static_cast<double>(samples.size())));
    bins = width > 0 ? static_cast<size_t>(std::clamp((last - first) / width, 5.0, 120.0)) : 20;
  }
  const double bin_width = (last - first) / static_cast<double>(bins);
  std::vector<double> heights(bins);
  for (const double value : samples) {
    if (value < first || value > last) continue;
    const auto bin = static_cast<size_t>((value - first) / bin_width);
    heights[std::min(bin, bins - 1)] += 1 / (static_cast<double>(samples.size()) * bin_width);
  }

  Extent y_extent;
  y_extent.include(0);
  for (const double height : heights) y_extent.include(height);
  Series curve{.name = histogram.density_name, .x = {}, .y = {}};
  if (histogram.density) {
    constexpr int curve_points = 240;
    for (int i = 0; i <= curve_points; ++i) {
      const double x = x_scale.lowest() + (x_scale.highest() - x_scale.lowest()) * i / curve_points;
      curve.x.push_back(x);
      curve.y.push_back(histogram.density(x));
      y_extent.include(curve.y.back());
    }
  }
  const Axis density_axis{.label = "density"};
  const Scale y_scale = make_scale(density_axis, y_extent, histogram.figure.height, pixels_per_y_tick, true);
  std::vector<LegendEntry> legend{{.name = histogram.name, .index = 0, .area = true}};
  if (histogram.density) legend.push_back({.name = histogram.density_name, .index = 1, .line = true});
  Frame frame({.figure = histogram.figure,
               .x = histogram.x,
               .y = density_axis,
               .x_scale = &x_scale,
               .y_scale = &y_scale,
               .legend = std::move(legend)});
  if (samples.empty()) frame.no_data();
  for (size_t i = 0; i < bins && !samples.empty(); ++i) {
    const double from = frame.x(first + bin_width * static_cast<double>(i));
    const double to = frame.x(first + bin_width * static_cast<double>(i + 1));
    const double at = frame.y(heights[i]);
    if (heights[i] > 0)
      frame.canvas().rectangle({from, at}, std::max(0.5, to - from - 0.5), frame.bottom() - at,
                               series_class(0, "bar"));
  }
  draw_series(frame, frame.canvas(), curve, 1);
  for (size_t i = 0; i < histogram.vertical.size(); ++i) frame.vertical_threshold(histogram.vertical[i], i);
  return frame.svg();
}

std::string plot(const QuantilePlot& quantiles) {
  require(static_cast<bool>(quantiles.quantile), "a quantile plot needs the distribution to compare with");
  std::vector<double> samples;
  for (const double value : quantiles.samples)
    if (visible(value, false)) samples.push_back(value);
  std::sort(samples.begin(), samples.end());

  std::vector<double> expected;
  Extent both;
  for (size_t i = 0; i < samples.size(); ++i) {
    expected.push_back(
        quantiles.quantile((static_cast<double>(i) + 0.5) / static_cast<double>(samples.size())));
    both.include(expected.back());
    both.include(samples[i]);
  }
  const Axis x{.label = quantiles.expected_label}, y{.label = quantiles.observed_label};
  const Scale x_scale = make_scale(x, both, quantiles.figure.width, pixels_per_x_tick, true);
  const Scale y_scale = make_scale(y, both, quantiles.figure.width, pixels_per_x_tick, true);
  Frame frame(
      {.figure = quantiles.figure, .x = x, .y = y, .x_scale = &x_scale, .y_scale = &y_scale, .legend = {}});
  if (samples.empty()) frame.no_data();
  frame.canvas().line(place(frame, x_scale.lowest(), x_scale.lowest()),
                      place(frame, x_scale.highest(), x_scale.highest()), "threshold");
  // Points closer than they can be seen apart are drawn once; the sparse tails stay whole.
  constexpr double least_distance = 1;
  Point last{-1e9, -1e9};
  for (size_t i = 0; i < samples.size(); ++i) {
    const Point point = place(frame, expected[i], samples[i]);
    if (std::abs(point.x - last.x) + std::abs(point.y - last.y) < least_distance) continue;
    frame.canvas().speck(point, series_class(0, "speck"));
    last = point;
  }
  return frame.svg();
}

std::string plot_stylesheet() {
  return R"(.plot {
  --paper: #ffffff; --ink: #1f2328; --muted: #59636e; --grid: #e6e8eb; --base: #8b949e;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #cc79a7;
  --series-4: #e69f00; --series-5: #56b4e9; --series-6: #1f2328;
  font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 100%; height: auto; display: block;
}
@media screen and (prefers-color-scheme: dark) {
  .plot {
    --paper: #14171a; --ink: #e6e8eb; --muted: #a3abb5; --grid: #2a3036; --base: #6e7781;
    --series-0: #56b4e9; --series-1: #e69f00; --series-2: #1fbf92; --series-3: #d992ba;
    --series-4: #f0e442; --series-5: #ee7733; --series-6: #e6e8eb;
  }
}
.plot .s0 { --colour: var(--series-0); } .plot .s1 { --colour: var(--series-1); }
.plot .s2 { --colour: var(--series-2); } .plot .s3 { --colour: var(--series-3); }
.plot .s4 { --colour: var(--series-4); } .plot .s5 { --colour: var(--series-5); }
.plot .s6 { --colour: var(--series-6); }
.plot text { fill: var(--ink); font-variant-numeric: tabular-nums; }
.plot .heading { font-size: 14px; font-weight: 600; }
.plot .axis, .plot .tick, .plot .value { fill: var(--muted); }
.plot .value { font-size: 11px; }
.plot .remark { font-size: 11px; fill: var(--muted); paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.plot .grid { stroke: var(--grid); } .plot .base { stroke: var(--base); }
.plot .threshold { stroke: var(--muted); stroke-dasharray: 2 3; }
.plot .line { stroke: var(--colour); stroke-width: 1.8; fill: none; stroke-linejoin: round; }
.plot .dashed { stroke-dasharray: 6 4; }
.plot .band { fill: var(--colour); opacity: 0.16; }
.plot .bar { fill: var(--colour); opacity: 0.85; }
.plot .speck { fill: var(--colour); }
.plot .dot { fill: var(--colour); stroke: var(--paper); stroke-width: 0.8; }
)";
}

std::string standalone_svg(const std::string& svg) {
  const size_t start = svg.find('>');
  require(svg.starts_with("<svg") && start != std::string::npos, "expected one <svg> element");
  return svg.substr(0, start + 1) + "\n<style>\n" + plot_stylesheet() + "</style>" + svg.substr(start + 1);
}

}  // namespace dw
