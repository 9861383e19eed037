// The drawing surface below the plots: SVG elements, the frame every plot shares, and labels that keep out of
// each other's way.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/plot.h"
#include "experiments/plot_scale.h"

namespace dw {

struct Point {
  double x = 0;
  double y = 0;
};

enum class Anchor { start, middle, end };

/// Collects SVG elements; coordinates in pixels, y downwards.
class Canvas {
 public:
  void text(Point at, Anchor anchor, std::string_view css_class, std::string_view content);
  void line(Point from, Point to, std::string_view css_class);
  void rectangle(Point corner, double width, double height, std::string_view css_class,
                 std::string_view tooltip = {});
  void path(std::string_view commands, std::string_view css_class);
  /// A small circle, square, triangle or diamond, by `shape`.
  void marker(Point at, size_t shape, std::string_view css_class);
  /// The smallest mark, for clouds of points.
  void speck(Point at, std::string_view css_class);
  /// Appends `inner`, drawn in page coordinates and cut off outside the box.
  void clipped(Point corner, double width, double height, const Canvas& inner);
  const std::string& body() const { return body_; }

 private:
  std::string body_;
};

/// "M1.0,2.0L3.0,4.0": through every point; starts anew after a point that is not finite. Empty where no two
/// neighbours are finite.
std::string line_path(const std::vector<Point>& points);

/// Pixels that `text` takes at the plots' label size, generously estimated.
double text_width(std::string_view text);

/// How a series is drawn in a legend.
struct LegendEntry {
  std::string name;
  size_t index = 0;  ///< decides colour and shape
  bool line = false;
  bool marker = false;
  bool area = false;
  bool dashed = false;
  double end = 0;  ///< where its last value lies, from 0 at the bottom to 1, for labels beside the plot
};

/// The frame: title, axes, ticks, grid, legend and thresholds. Draw the data inside with x() and y().
class Frame {
 public:
  struct Content {
    Figure figure;
    Axis x;
    Axis y;
    const Scale* x_scale = nullptr;  ///< none: a plot of groups, which labels its own axis
    const Scale* y_scale = nullptr;
    std::vector<LegendEntry> legend;
    bool labels_beside = false;  ///< names right of the plot where they fit, else above it
    double room_above = 0;       ///< extra pixels for values on top of bars
    double room_below = 0;       ///< extra pixels for group labels
  };

  explicit Frame(Content content);

  double left() const { return left_; }
  double right() const { return right_; }
  double top() const { return top_; }
  double bottom() const { return bottom_; }
  double x(double value) const;
  double y(double value) const;

  Canvas& canvas() { return canvas_; }
  void horizontal_threshold(const Threshold& threshold);
  void vertical_threshold(const Threshold& threshold, size_t row);
  void no_data();
  std::string svg() const;

 private:
  void arrange();
  double place_legend_above(bool draw);  // its height
  void draw_axes();
  void draw_labels_beside();
  void draw_key(Point at, const LegendEntry& entry);

  Content content_;
  Canvas canvas_;
  double left_ = 0, right_ = 0, top_ = 0, bottom_ = 0;
  double legend_top_ = 0;
  bool beside_ = false;
};

/// The CSS classes of series `index`.
std::string series_class(size_t index, std::string_view role);

}  // namespace dw
