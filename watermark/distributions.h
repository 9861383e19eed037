// The statistical analysis of parameters that the method starts from: what a layer's weights look like, and
// which family of distributions describes them best.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace dw {

/// All symmetric about their location.
///   normal              exp(-z²/2)
///   laplace             exp(-|z|)
///   logistic            e^-z / (1 + e^-z)²
///   student_t           (1 + z²/shape)^-(shape+1)/2
///   generalised_normal  exp(-|z|^shape): Laplace at shape 1, normal at 2, uniform as it grows
/// with z = (x - location) / scale, up to a constant.
enum class Family { normal, laplace, logistic, student_t, generalised_normal };
inline constexpr std::array families{Family::normal, Family::laplace, Family::logistic, Family::student_t,
                                     Family::generalised_normal};

/// "normal", "Laplace", "logistic", "Student-t", "generalised normal".
std::string_view name_of(Family family);

struct Distribution {
  Family family = Family::normal;
  double location = 0;
  double scale = 1;
  double shape = 0;  ///< degrees of freedom or exponent; 0 for families without one
};

double log_density(const Distribution& distribution, double x);
/// P[X <= x].
double cumulative(const Distribution& distribution, double x);
/// The x with cumulative x = p, 0 < p < 1, to about 1e-12 of the scale.
double quantile(const Distribution& distribution, double p);

/// Where a fit's shape is searched; one at an end of its range says "at least" or "at most".
inline constexpr double smallest_freedom = 0.3, largest_freedom = 1e4;
inline constexpr double smallest_exponent = 0.2, largest_exponent = 50;

struct Fit {
  Distribution distribution;
  double log_likelihood = 0;  ///< natural, of the whole sample
  double aic = 0;             ///< Akaike's criterion, 2 parameters - 2 log_likelihood: smaller is better
  double ks_distance = 0;     ///< between the sample's distribution function and the fit's
};

/// By maximum likelihood. `sorted`: finite, ascending, as of sample_of(). Error: fewer than 2 different
/// values.
Fit fit(Family family, std::span<const double> sorted);

/// A sample that can be fitted has at least this many values.
inline constexpr size_t smallest_fit_sample = 32;

/// Every family, in the order of `families`; empty for a sample that is too small or all one value.
std::vector<Fit> fit_all(std::span<const double> sorted);

/// The rank of each fit by AIC, 1 for the best.
std::vector<int> ranks_of(std::span<const Fit> fits);

}  // namespace dw
