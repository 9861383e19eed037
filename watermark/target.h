// The distribution a marked layer's weights are drawn towards, and how strongly.
//
// u is a weight in units of its layer's scale, f its natural (even) density. A bit's aligned weights v follow
//   p_a(v) = f(v) (1 + a tanh(v / tau)),
// whose mirror average is f again: the layer's own distribution does not change.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dw {

inline constexpr double default_tau = 0.7;
inline constexpr double maximum_amplitude = 0.9;
/// The skew function is compared at t_i = i * knot_step, i = 0 .. knot_count - 1, over [0, 4].
inline constexpr int knot_count = 32;
inline constexpr double knot_step = 0.125;

/// f, as far as the method needs it.
class Density {
 public:
  /// Standard normal.
  static Density gaussian();
  /// The weights' own magnitudes, made symmetric, as 4096 quantiles. `u` in units of the layers' scales.
  /// Error: empty or non-finite.
  static Density host(std::span<const float> u);

  /// "gaussian" or "host".
  const std::string& name() const { return name_; }
  /// E_f[|x| tanh(|x| / tau)]: what an amplitude of 1 moves the mean of v by.
  double mean_shift(double tau) const;
  /// E_f[tanh(|x| / tau); |x| > t], t >= 0.
  double tail_tilt(double t, double tau) const;

 private:
  std::string name_;
  std::vector<double> magnitudes_;  // sorted, equally likely; empty for the normal density
};

/// The amplitude a at which the mean of a bit's m = weights / bits values sits `strength` standard errors
/// from zero: a = strength / (sqrt(m) mean_shift). UsageError where that exceeds 0.9: the payload is too
/// large for these layers; names m, T, z* and the largest T that fits.
double amplitude_for(double strength, uint64_t weights, int bits, const Density& density,
                     double tau = default_tau);

/// S*(t) = a tail_tilt(t): the target of the skew function P(V > t) - P(V < -t).
/// Its inverse: the strength that this amplitude gives.
double strength_of(double amplitude, uint64_t weights, int bits, const Density& density,
                   double tau = default_tau);

double target_skew(double t, const Density& density, double amplitude, double tau = default_tau);

/// S* at the knots.
std::array<double, knot_count> target_skew_table(const Density& density, double amplitude,
                                                 double tau = default_tau);

/// phi(v) = 2 atanh(a tanh(v / tau)): the log-likelihood ratio of p_a(v) against p_a(-v). Odd.
double evidence(double v, double amplitude, double tau);

}  // namespace dw
