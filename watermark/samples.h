// Weights as samples: their moments, and Kolmogorov and Smirnov's distances between distribution functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace dw {

/// Moments over the finite values, zeros included.
struct Description {
  int64_t count = 0;
  int64_t zeros = 0;
  int64_t not_finite = 0;
  double mean = 0;
  double deviation = 0;  ///< root of the mean squared distance from the mean
  double skewness = 0;   ///< third moment over deviation³; 0 where all values are equal
  double kurtosis = 0;   ///< fourth moment over deviation⁴, 3 for a normal distribution; 0 likewise
  double scale = 0;  ///< root mean square of the non-zero values, the unit in which the mark reads weights
};
Description describe(std::span<const float> weights);

/// Larger layers are fitted and compared on a sample of this size: a shape's standard error there is below 1
/// %.
inline constexpr size_t largest_sample = size_t{1} << 18;

/// The finite non-zero weights (a pruned weight is no draw from a density), sorted; of more than `limit`, one
/// chosen from each of `limit` equal stretches, always the same.
std::vector<double> sample_of(std::span<const float> weights, size_t limit = largest_sample);

/// The largest distance between the distribution function of `sorted` (ascending, not empty) and `function`,
/// which is monotone.
double ks_distance(std::span<const double> sorted, const std::function<double(double)>& function);

struct TwoSampleTest {
  double distance = 0;
  double p_value = 1;  ///< asymptotic, with Stephens' correction
};
/// Kolmogorov and Smirnov's test that two ascending samples come from one distribution. Error: an empty one.
TwoSampleTest compare_samples(std::span<const double> a, std::span<const double> b);

}  // namespace dw
