#include "experiments/plot_scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "experiments/text.h"

namespace dw {
namespace {

std::string superscript(int exponent) {
  static constexpr std::array<std::string_view, 10> digits{"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "⁻" : "";
  for (const char c : std::to_string(std::abs(exponent))) text += digits[static_cast<size_t>(c - '0')];
  return text;
}

std::string power_of_ten(int exponent) {
  if (exponent >= -3 && exponent <= 5) return format_tick(std::pow(10.0, exponent), std::pow(10.0, exponent));
  return "10" + superscript(exponent);
}

// The one of 1, 2, 5 times a power of ten that is nearest to `rough` in ratio.
double round_step(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double factor = rough / power;
  return power * (factor < std::sqrt(2.0)    ? 1
                  : factor < std::sqrt(10.0) ? 2
                  : factor < std::sqrt(50.0) ? 5
                                             : 10);
}

}  // namespace

void Extent::include(double value, bool positive_only) {
  if (!(std::abs(value) < largest_plotted) || (positive_only && value <= 0)) return;
  lowest = empty ? value : std::min(lowest, value);
  highest = empty ? value : std::max(highest, value);
  empty = false;
}

Scale::Scale(const Extent& extent, const Options& options) : kind_(options.kind) {
  const bool logarithmic = kind_ == Kind::logarithmic;
  if (!extent.empty) {
    lowest_ = extent.lowest;
    highest_ = extent.highest;
  }
  if (logarithmic && lowest_ <= 0) {
    lowest_ = highest_ > 0 ? std::min(1.0, highest_) : 0.1;
    highest_ = std::max(highest_, lowest_);
  }
  // A range too narrow for doubles to divide into ticks counts as a single value.
  const double magnitude = std::max(std::abs(lowest_), std::abs(highest_));
  if (logarithmic) {
    if (std::log(highest_) - std::log(lowest_) < 1e-9) {
      lowest_ /= 2;
      highest_ *= 2;
    }
    make_logarithmic_ticks(options);
  } else {
    if (!(highest_ - lowest_ > magnitude * 1e-9)) {
      const double room = magnitude > 0 ? 0.1 * magnitude : 1;
      lowest_ -= room;
      highest_ += room;
    }
    make_linear_ticks(options);
  }
}

void Scale::make_linear_ticks(const Options& options) {
  double step = round_step((highest_ - lowest_) / std::max(1, options.wanted_ticks));
  if (options.whole_steps) step = std::max(1.0, step);
  constexpr double slack = 1e-6;
  if (options.widen) {
    lowest_ = std::floor(lowest_ / step + slack) * step;
    highest_ = std::ceil(highest_ / step - slack) * step;
  }
  const double first = std::ceil(lowest_ / step - slack);
  const double last = std::floor(highest_ / step + slack);
  for (double k = first; k <= last; ++k) ticks_.push_back({k * step, format_tick(k * step, step)});
}

void Scale::make_logarithmic_ticks(const Options& options) {
  constexpr double slack = 1e-6;
  const double low = std::log10(lowest_), high = std::log10(highest_);
  if (options.widen) {
    lowest_ = std::pow(10.0, std::floor(low + slack));
    highest_ = std::pow(10.0, std::ceil(high - slack));
  }
  const int first = static_cast<int>(std::ceil(std::log10(lowest_) - slack));
  const int last = static_cast<int>(std::floor(std::log10(highest_) + slack));
  if (last - first >= 2) {
    const int stride = std::max(1, (last - first) / std::max(1, options.wanted_ticks));
    for (int k = first; k <= last; k += stride) ticks_.push_back({std::pow(10.0, k), power_of_ten(k)});
    return;
  }
  for (int k = first - 1; k <= last; ++k)
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * std::pow(10.0, k);
      if (value >= lowest_ * (1 - slack) && value <= highest_ * (1 + slack))
        ticks_.push_back({value, format_tick(value, value)});
    }
}

double Scale::position(double value) const {
  if (!(std::abs(value) < largest_plotted)) return std::numeric_limits<double>::quiet_NaN();
  if (kind_ == Kind::logarithmic && value <= 0) return std::numeric_limits<double>::quiet_NaN();
  const double position = kind_ == Kind::linear ? (value - lowest_) / (highest_ - lowest_)
                                                : (std::log(value) - std::log(lowest_)) /
                                                      (std::log(highest_) - std::log(lowest_));
  // Far outside the plot only the direction matters, and renderers dislike huge coordinates.
  return std::clamp(position, -50.0, 50.0);
}

std::string format_tick(double value, double step) {
  if (std::isnan(value)) return "–";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  step = std::abs(step) > 0 ? std::abs(step) : 1;
  if (std::abs(value) < step * 1e-6) value = 0;
  const std::string sign = value < 0 ? "−" : "";
  const double size = std::abs(value);
  if (value != 0 && (size >= 1e7 || step < 0.99e-4)) {
    int exponent = static_cast<int>(std::floor(std::log10(size) + 1e-9));
    const int digits = std::clamp(exponent - static_cast<int>(std::floor(std::log10(step) + 1e-9)), 0, 12);
    const double mantissa = size / std::pow(10.0, exponent);
    const std::string power = "10" + superscript(exponent);
    if (digits == 0 && std::llround(mantissa) == 1) return sign + power;
    return sign + fmt::format("{:.{}f}×", mantissa, digits) + power;
  }
  const int decimals = std::clamp(-static_cast<int>(std::floor(std::log10(step) + 1e-9)), 0, 6);
  std::string text = fmt::format("{:.{}f}", size, decimals);
  const size_t point = std::min(text.find('.'), text.size());
  return sign + format_count(std::stoull(text.substr(0, point))) + text.substr(point);
}

// Acklam's rational approximation, then one Halley step with erfc, which brings it to double precision.
double normal_quantile(double probability) {
  if (!(probability >= 0 && probability <= 1)) return std::numeric_limits<double>::quiet_NaN();
  if (probability == 0 || probability == 1)
    return probability > 0.5 ? std::numeric_limits<double>::infinity()
                             : -std::numeric_limits<double>::infinity();
  // The upper half by symmetry.
  if (probability > 0.5) return -normal_quantile(1 - probability);
  constexpr std::array a{-39.69683028665376, 220.9460984245205,  -275.9285104469687,
                         138.3577518672690,  -30.66479806614716, 2.506628277459239};
  constexpr std::array b{-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972,
                         -13.28068155288572};
  constexpr std::array c{-0.007784894002430293, -0.3223964580411365, -2.400758277161838,
                         -2.549732539343734,    4.374664141464968,   2.938163982698783};
  constexpr std::array d{0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416};
  const auto polynomial = [](const auto& coefficients, double at, double start) {
    double value = start;
    for (const double coefficient : coefficients) value = value * at + coefficient;
    return value;
  };
  double x = 0;
  if (probability < 0.02425) {
    const double q = std::sqrt(-2 * std::log(probability));
    x = polynomial(c, q, 0) / (polynomial(d, q, 0) * q + 1);
  } else {
    const double q = probability - 0.5, r = q * q;
    x = polynomial(a, r, 0) * q / (polynomial(b, r, 0) * r + 1);
  }
  const double pi = std::acos(-1.0);
  const double error = 0.5 * std::erfc(-x / std::sqrt(2.0)) - probability;
  const double step = error * std::sqrt(2 * pi) * std::exp(x * x / 2);
  return x - step / (1 + x * step / 2);
}

}  // namespace dw
