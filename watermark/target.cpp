#include "watermark/target.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/error.h"
#include "watermark/key.h"

namespace dw {
namespace {

constexpr size_t quantiles = 4096;

/// Composite Simpson over [from, 12]; beyond, the normal density is below 1e-31.
template <typename Function>
double half_normal_integral(double from, Function function) {
  constexpr double end_marker = 12;
  constexpr int intervals = 4096;
  if (from >= end_marker) return 0;
  const double step = (end_marker - from) / intervals;
  double sum = 0;
  for (int i = 0; i <= intervals; ++i) {
    const double x = from + i * step;
    const double weight = i == 0 || i == intervals ? 1 : i % 2 == 1 ? 4 : 2;
    sum += weight * function(x) * std::exp(-0.5 * x * x);
  }
  return sum * step / 3 * std::sqrt(2 / std::numbers::pi);
}

}  // namespace

Density Density::gaussian() {
  Density density;
  density.name_ = "gaussian";
  return density;
}

Density Density::host(std::span<const float> u) {
  require(!u.empty(), "host density: no weights");
  std::vector<float> sorted(u.size());
  std::transform(u.begin(), u.end(), sorted.begin(), [](float value) { return std::fabs(value); });
  require(std::all_of(sorted.begin(), sorted.end(), [](float value) { return std::isfinite(value); }),
          "host density: a weight is not finite");
  std::sort(sorted.begin(), sorted.end());
  Density density;
  density.name_ = "host";
  for (size_t i = 0; i < quantiles; ++i) {
    const double place = (i + 0.5) / quantiles * static_cast<double>(sorted.size());
    density.magnitudes_.push_back(sorted[std::min(sorted.size() - 1, static_cast<size_t>(place))]);
  }
  return density;
}

double Density::mean_shift(double tau) const {
  if (magnitudes_.empty()) return half_normal_integral(0, [&](double x) { return x * std::tanh(x / tau); });
  double sum = 0;
  for (const double x : magnitudes_) sum += x * std::tanh(x / tau);
  return sum / static_cast<double>(magnitudes_.size());
}

double Density::tail_tilt(double t, double tau) const {
  if (magnitudes_.empty()) return half_normal_integral(t, [&](double x) { return std::tanh(x / tau); });
  double sum = 0;
  for (auto x = std::upper_bound(magnitudes_.begin(), magnitudes_.end(), t); x != magnitudes_.end(); ++x)
    sum += std::tanh(*x / tau);
  return sum / static_cast<double>(magnitudes_.size());
}

double amplitude_for(double strength, uint64_t weights, int bits, const Density& density, double tau) {
  if (!(strength > 0) || !std::isfinite(strength) || bits < minimum_bits || bits > maximum_bits ||
      !(tau > 0) || weights == 0)
    throw UsageError(
        fmt::format("mark: strength {}, {} bits, {} weights, tau {}: expected positive numbers and {} "
                    "to {} bits",
                    strength, bits, weights, tau, minimum_bits, maximum_bits));
  const double group = static_cast<double>(weights) / bits;
  const double shift = density.mean_shift(tau);
  require(shift > 0, "mark: every weight is zero, there is no density to tilt");
  const double amplitude = strength / (std::sqrt(group) * shift);
  if (amplitude <= maximum_amplitude) return amplitude;
  const double unit = maximum_amplitude * shift / strength;
  const auto largest = static_cast<int64_t>(static_cast<double>(weights) * unit * unit);
  const std::string advice =
      largest >= minimum_bits
          ? fmt::format("the largest payload that fits is {} bits", largest)
          : fmt::format("not even {} bits fit at this strength, which needs at most {:.1f} there",
                        minimum_bits,
                        maximum_amplitude * shift * std::sqrt(static_cast<double>(weights) / minimum_bits));
  throw UsageError(
      fmt::format("payload too large: {} weights for T = {} bits leave m = {:.0f} a bit; strength z* = "
                  "{} would need amplitude {:.2f}, at most {} is possible; {}",
                  weights, bits, group, strength, amplitude, maximum_amplitude, advice));
}

double strength_of(double amplitude, uint64_t weights, int bits, const Density& density, double tau) {
  return amplitude * std::sqrt(static_cast<double>(weights) / bits) * density.mean_shift(tau);
}

double target_skew(double t, const Density& density, double amplitude, double tau) {
  return amplitude * density.tail_tilt(t, tau);
}

std::array<double, knot_count> target_skew_table(const Density& density, double amplitude, double tau) {
  std::array<double, knot_count> table;
  for (int i = 0; i < knot_count; ++i) table[i] = target_skew(i * knot_step, density, amplitude, tau);
  return table;
}

double evidence(double v, double amplitude, double tau) {
  return 2 * std::atanh(amplitude * std::tanh(v / tau));
}

}  // namespace dw
