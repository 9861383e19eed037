#include "experiments/plot_canvas.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "experiments/text.h"

namespace dw {
namespace {

constexpr double label_height = 15;
constexpr double key_width = 22;
constexpr size_t colours = 7;

// One decimal is a tenth of a pixel; more only makes files larger.
std::string number(double value) {
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

std::string_view name_of(Anchor anchor) {
  return anchor == Anchor::start ? "start" : anchor == Anchor::middle ? "middle" : "end";
}

bool finite(const Point& point) {
  return std::isfinite(point.x) && std::isfinite(point.y);
}

}  // namespace

void Canvas::text(Point at, Anchor anchor, std::string_view css_class, std::string_view content) {
  body_ += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\" class=\"{}\">{}</text>\n", number(at.x),
                       number(at.y), name_of(anchor), css_class, escape_markup(content));
}

void Canvas::line(Point from, Point to, std::string_view css_class) {
  body_ += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"{}\"/>\n", number(from.x),
                       number(from.y), number(to.x), number(to.y), css_class);
}

void Canvas::rectangle(Point corner, double width, double height, std::string_view css_class,
                       std::string_view tooltip) {
  body_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" class=\"{}\"", number(corner.x),
                       number(corner.y), number(width), number(height), css_class);
  body_ += tooltip.empty() ? "/>\n" : fmt::format("><title>{}</title></rect>\n", escape_markup(tooltip));
}

void Canvas::path(std::string_view commands, std::string_view css_class) {
  if (!commands.empty()) body_ += fmt::format("<path d=\"{}\" class=\"{}\"/>\n", commands, css_class);
}

void Canvas::marker(Point at, size_t shape, std::string_view css_class) {
  if (!finite(at)) return;
  const std::string start = "M" + number(at.x) + "," + number(at.y);
  switch (shape % 4) {
    case 0:
      path(start + "m-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z", css_class);
      break;
    case 1:
      path(start + "m-2.7,-2.7h5.4v5.4h-5.4z", css_class);
      break;
    case 2:
      path(start + "m0,-3.6l3.4,6h-6.8z", css_class);
      break;
    default:
      path(start + "m0,-3.8l3.8,3.8l-3.8,3.8l-3.8,-3.8z", css_class);
  }
}

void Canvas::speck(Point at, std::string_view css_class) {
  if (finite(at))
    path("M" + number(at.x - 1.6) + "," + number(at.y) + "a1.6,1.6 0 1,0 3.2,0a1.6,1.6 0 1,0 -3.2,0z",
         css_class);
}

void Canvas::clipped(Point corner, double width, double height, const Canvas& inner) {
  // An inner <svg> clips without needing an id, which would have to be unique in the page.
  body_ += fmt::format("<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"{0} {1} {2} {3}\">\n",
                       number(corner.x), number(corner.y), number(width), number(height)) +
           inner.body_ + "</svg>\n";
}

std::string line_path(const std::vector<Point>& points) {
  std::string path;
  bool drawing = false;
  for (size_t i = 0; i < points.size(); ++i) {
    if (!finite(points[i])) {
      drawing = false;
      continue;
    }
    if (!drawing && (i + 1 == points.size() || !finite(points[i + 1]))) continue;
    path += (drawing ? "L" : "M") + number(points[i].x) + "," + number(points[i].y);
    drawing = true;
  }
  return path;
}

double text_width(std::string_view text) {
  return 6.9 * static_cast<double>(display_width(text));
}

std::string series_class(size_t index, std::string_view role) {
  return fmt::format("s{} {}", index % colours, role);
}

Frame::Frame(Content content) : content_(std::move(content)) {
  std::erase_if(content_.legend, [](const LegendEntry& entry) { return entry.name.empty(); });
  if (content_.legend.size() == 1) content_.legend.clear();
  arrange();
  draw_axes();
  if (beside_) {
    draw_labels_beside();
  } else {
    place_legend_above(true);
  }
}

void Frame::arrange() {
  Figure& figure = content_.figure;
  figure.width = std::max(240.0, figure.width);
  figure.height = std::max(160.0, figure.height);

  double y_labels = 0;
  for (const auto& tick : content_.y_scale->ticks()) y_labels = std::max(y_labels, text_width(tick.label));
  left_ = std::max(14.0, y_labels + 10);
  right_ = figure.width - 14;
  if (content_.x_scale && !content_.x_scale->ticks().empty())
    right_ -= std::max(0.0, text_width(content_.x_scale->ticks().back().label) / 2 - 14);

  double longest = 0;
  for (const auto& entry : content_.legend) longest = std::max(longest, text_width(entry.name));
  beside_ = !content_.legend.empty() && content_.labels_beside && longest + key_width < 0.3 * figure.width &&
            static_cast<double>(content_.legend.size()) * label_height < 0.6 * figure.height;
  if (beside_) right_ = figure.width - longest - key_width - 14;

  legend_top_ = figure.title.empty() ? 4 : 26;
  top_ = legend_top_ + 8 + content_.room_above + (content_.y.label.empty() ? 0 : label_height + 3);
  if (!beside_) {
    // A legend makes the picture taller, not the plot smaller.
    const double legend = place_legend_above(false);
    top_ += legend;
    figure.height += std::max(0.0, legend - 2 * label_height);
  }
  const double x_ticks = content_.x_scale ? 20 : 6;
  bottom_ = figure.height - x_ticks - content_.room_below - (content_.x.label.empty() ? 2 : label_height + 4);
  bottom_ = std::max(bottom_, top_ + 20);
}

double Frame::place_legend_above(bool draw) {
  if (content_.legend.empty()) return 0;
  double x = 0, y = legend_top_ + label_height;
  for (const auto& entry : content_.legend) {
    const double width = key_width + text_width(entry.name) + 14;
    if (x > 0 && x + width > content_.figure.width) {
      x = 0;
      y += label_height + 2;
    }
    if (draw) draw_key({x, y}, entry);
    x += width;
  }
  return y - legend_top_ + 12;
}

double Frame::x(double value) const {
  return left_ + content_.x_scale->position(value) * (right_ - left_);
}

double Frame::y(double value) const {
  return bottom_ - content_.y_scale->position(value) * (bottom_ - top_);
}

void Frame::draw_axes() {
  if (!content_.figure.title.empty())
    canvas_.text({0, 15}, Anchor::start, "heading",
                 fit_width(content_.figure.title, static_cast<size_t>(content_.figure.width / 8.2)));
  if (!content_.y.label.empty())
    canvas_.text({0, top_ - 13 - content_.room_above}, Anchor::start, "axis", content_.y.label);
  for (const auto& tick : content_.y_scale->ticks()) {
    canvas_.line({left_, y(tick.value)}, {right_, y(tick.value)}, "grid");
    canvas_.text({left_ - 7, y(tick.value) + 4}, Anchor::end, "tick", tick.label);
  }
  if (content_.x_scale) {
    canvas_.line({left_, bottom_}, {right_, bottom_}, "base");
    double free_from = -1e9;
    for (const auto& tick : content_.x_scale->ticks()) {
      const double at = x(tick.value), half = text_width(tick.label) / 2;
      canvas_.line({at, bottom_}, {at, bottom_ + 4}, "base");
      if (at - half < free_from) continue;
      canvas_.text({at, bottom_ + 18}, Anchor::middle, "tick", tick.label);
      free_from = at + half + 4;
    }
  }
  if (!content_.x.label.empty())
    canvas_.text({(left_ + right_) / 2, content_.figure.height - 5}, Anchor::middle, "axis",
                 content_.x.label);
}

void Frame::draw_key(Point at, const LegendEntry& entry) {
  if (entry.area) canvas_.rectangle({at.x, at.y - 9}, 12, 10, series_class(entry.index, "bar"));
  const std::string line = entry.dashed ? "line dashed" : "line";
  if (entry.line) canvas_.line({at.x, at.y - 4}, {at.x + 16, at.y - 4}, series_class(entry.index, line));
  if (entry.marker) canvas_.marker({at.x + 8, at.y - 4}, entry.index, series_class(entry.index, "dot"));
  canvas_.text({at.x + key_width, at.y}, Anchor::start, "name", entry.name);
}

void Frame::draw_labels_beside() {
  // From the top down, pushed apart where they would overlap, and back up where they ran out of the plot.
  std::vector<size_t> order(content_.legend.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return content_.legend[a].end > content_.legend[b].end; });
  std::vector<double> at;
  for (const size_t i : order) {
    const double wanted = bottom_ - std::clamp(content_.legend[i].end, 0.0, 1.0) * (bottom_ - top_) + 4;
    at.push_back(at.empty() ? wanted : std::max(wanted, at.back() + label_height));
  }
  double lowest = bottom_ + 4;
  for (size_t k = at.size(); k-- > 0; lowest = at[k] - label_height) at[k] = std::min(at[k], lowest);
  for (size_t k = 0; k < at.size(); ++k) draw_key({right_ + 8, at[k]}, content_.legend[order[k]]);
}

void Frame::horizontal_threshold(const Threshold& threshold) {
  const double at = y(threshold.value);
  if (!(at >= top_ - 0.5 && at <= bottom_ + 0.5)) return;
  canvas_.line({left_, at}, {right_, at}, "threshold");
  // Below the line where it lies at the very top.
  canvas_.text({left_ + 4, at < top_ + label_height ? at + 13 : at - 4}, Anchor::start, "remark",
               threshold.label);
}

void Frame::vertical_threshold(const Threshold& threshold, size_t row) {
  const double at = x(threshold.value);
  if (!(at >= left_ - 0.5 && at <= right_ + 0.5)) return;
  canvas_.line({at, top_}, {at, bottom_}, "threshold");
  const bool fits = at + 5 + text_width(threshold.label) <= content_.figure.width;
  canvas_.text({at + (fits ? 5 : -5), top_ + 10 + static_cast<double>(row) * label_height},
               fits ? Anchor::start : Anchor::end, "remark", threshold.label);
}

void Frame::no_data() {
  canvas_.text({(left_ + right_) / 2, (top_ + bottom_) / 2}, Anchor::middle, "axis", "no data");
}

std::string Frame::svg() const {
  const Figure& figure = content_.figure;
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" viewBox=\"0 0 {0} {1}\" "
             "width=\"{0}\" height=\"{1}\">\n<title>{2}</title>\n<desc>{3}</desc>\n",
             number(figure.width), number(figure.height), escape_markup(figure.title),
             escape_markup(figure.description)) +
         canvas_.body() + "</svg>\n";
}

}  // namespace dw
