// Plots as SVG text: thin, labelled, colour-blind safe (Okabe and Ito's palette, with shapes as a second
// cue), without any external reference. Colours come from plot_stylesheet(), so one picture reads on light
// and dark pages.
//
// Values that are not finite leave gaps; on a logarithmic axis so do values that are not positive. Plots
// without any value say so. All text is escaped.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dw {

struct Axis {
  std::string label;  ///< with the unit, "accuracy (%)"
  bool logarithmic = false;
  std::optional<double> lowest = {};   ///< from the data where not given
  std::optional<double> highest = {};  ///< what lies outside is cut off
};

struct Series {
  std::string name;
  std::vector<double> x;
  std::vector<double> y;  ///< as many as x
  bool line = true;
  bool markers = false;
  bool dashed = false;
  std::vector<double> low = {};  ///< a band from low to high around the line: empty, or as many as x
  std::vector<double> high = {};
};

struct Threshold {
  double value = 0;
  std::string label;
};

/// What every plot has. `description` is for people who do not see the picture.
struct Figure {
  std::string title;
  std::string description;
  double width = 640;   ///< pixels, at least 240
  double height = 320;  ///< pixels, at least 160
};

/// Lines, points or both, as each series says.
struct Chart {
  Figure figure;
  Axis x;
  Axis y;
  std::vector<Series> series;
  std::vector<Threshold> horizontal = {};  ///< at values of y
  std::vector<Threshold> vertical = {};    ///< at values of x
};

struct BarSeries {
  std::string name;
  std::vector<double> values;  ///< one for each group
};

/// Groups of bars side by side, one bar a series, from zero.
struct BarChart {
  Figure figure;
  Axis y;
  std::vector<std::string> groups;
  std::vector<BarSeries> series;
  std::vector<Threshold> horizontal = {};
};

/// The density of `samples`, with an expected density drawn over it where one is given.
struct Histogram {
  Figure figure;
  Axis x;
  std::string name;
  std::vector<double> samples;
  size_t bins = 0;  ///< 0: by Freedman and Diaconis' rule, 5 to 120
  std::function<double(double)> density = {};
  std::string density_name = {};
  std::vector<Threshold> vertical = {};
};

/// Quantiles of `samples` against those of a distribution; on the diagonal they agree.
struct QuantilePlot {
  Figure figure;
  std::string expected_label;
  std::string observed_label;
  std::vector<double> samples;
  std::function<double(double)> quantile;  ///< of a probability in (0, 1), such as normal_quantile
};

/// Each returns one <svg> element. Error where sizes do not agree.
std::string plot(const Chart& chart);
std::string plot(const BarChart& chart);
std::string plot(const Histogram& histogram);
std::string plot(const QuantilePlot& quantiles);

/// The style sheet the plots need, for a page's <style>.
std::string plot_stylesheet();

/// A plot with its style sheet inside, as a file of its own.
std::string standalone_svg(const std::string& svg);

}  // namespace dw
