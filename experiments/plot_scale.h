// Axes of plots: from data values to positions, with ticks at round numbers.
#pragma once

#include <string>
#include <vector>

namespace dw {

/// Values this large in magnitude are treated like infinities: their differences could overflow.
inline constexpr double largest_plotted = 1e300;

/// The finite values seen so far.
struct Extent {
  double lowest = 0;
  double highest = 0;
  bool empty = true;

  /// Takes `value` in; ignores what is not finite, and with `positive_only` what is not above zero.
  void include(double value, bool positive_only = false);
};

/// One axis: values from `lowest` to `highest` (lowest < highest) spread linearly or logarithmically.
class Scale {
 public:
  enum class Kind { linear, logarithmic };
  struct Tick {
    double value;
    std::string label;
  };
  struct Options {
    Kind kind = Kind::linear;
    int wanted_ticks = 5;      ///< about this many
    bool whole_steps = false;  ///< ticks only at whole numbers
    bool widen = false;        ///< move the ends outward to the next tick
  };

  /// An empty extent becomes 0 to 1; a single value gets room on both sides.
  Scale(const Extent& extent, const Options& options);

  double lowest() const { return lowest_; }
  double highest() const { return highest_; }
  const std::vector<Tick>& ticks() const { return ticks_; }

  /// 0 at `lowest`, 1 at `highest`, up to 50 plot sizes beyond. NaN for what cannot be shown.
  double position(double value) const;

 private:
  void make_linear_ticks(const Options& options);
  void make_logarithmic_ticks(const Options& options);

  Kind kind_;
  double lowest_ = 0;
  double highest_ = 1;
  std::vector<Tick> ticks_;
};

/// A number for a tick or label: "0.25", "12,500", "3.2×10⁻⁵"; `step` is the distance that must be visible.
std::string format_tick(double value, double step);

/// Inverse of the standard normal's distribution function; infinite at 0 and 1, NaN outside.
double normal_quantile(double probability);

}  // namespace dw
