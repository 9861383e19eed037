#include "watermark/samples.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "watermark/statistics.h"

namespace dw {

Description describe(std::span<const float> weights) {
  Description result;
  result.count = static_cast<int64_t>(weights.size());
  double sum = 0, squares = 0;
  for (const float weight : weights) {
    if (!std::isfinite(weight)) {
      ++result.not_finite;
      continue;
    }
    sum += weight;
    squares += static_cast<double>(weight) * weight;
    result.zeros += weight == 0;
  }
  const int64_t finite = result.count - result.not_finite;
  if (finite == 0) return result;
  const auto n = static_cast<double>(finite);
  result.mean = sum / n;
  double second = 0, third = 0, fourth = 0;
  for (const float weight : weights) {
    if (!std::isfinite(weight)) continue;
    const double distance = weight - result.mean, square = distance * distance;
    second += square;
    third += square * distance;
    fourth += square * square;
  }
  result.deviation = std::sqrt(second / n);
  if (finite > result.zeros) result.scale = std::sqrt(squares / static_cast<double>(finite - result.zeros));
  if (second > 0) {
    result.skewness = std::sqrt(n) * third / (second * std::sqrt(second));
    result.kurtosis = n * fourth / (second * second);
  }
  return result;
}

std::vector<double> sample_of(std::span<const float> weights, size_t limit) {
  std::vector<double> sample;
  const auto take = [&](float weight) {
    if (std::isfinite(weight) && weight != 0) sample.push_back(weight);
  };
  if (weights.size() <= limit) {
    for (const float weight : weights) take(weight);
  } else {
    const PhiloxKey key{0, 0x73616d70, 0};
    for (size_t i = 0; i < limit; ++i) {
      const size_t from = weights.size() * i / limit, to = weights.size() * (i + 1) / limit;
      const uint64_t word = philox(key, i).word[0];
      take(weights[from + static_cast<size_t>(word * (to - from) >> 32)]);
    }
  }
  std::sort(sample.begin(), sample.end());
  return sample;
}

double ks_distance(std::span<const double> sorted, const std::function<double(double)>& function) {
  require(!sorted.empty(), "Kolmogorov-Smirnov distance: an empty sample");
  const auto n = static_cast<double>(sorted.size());
  double largest = 0;
  const auto value_at = [&](size_t i) {
    const double value = function(sorted[i]);
    largest =
        std::max({largest, (static_cast<double>(i) + 1) / n - value, value - static_cast<double>(i) / n});
    return value;
  };
  // Between two places both functions only rise, which bounds the distance there: most stretches need no
  // look.
  struct Stretch {
    size_t from, to;
    double low, high;
  };
  std::vector<Stretch> open{{0, sorted.size() - 1, value_at(0), value_at(sorted.size() - 1)}};
  while (!open.empty()) {
    const Stretch stretch = open.back();
    open.pop_back();
    const double bound = std::max(stretch.high - (static_cast<double>(stretch.from) + 1) / n,
                                  static_cast<double>(stretch.to) / n - stretch.low);
    if (stretch.to - stretch.from < 2 || bound <= largest) continue;
    const size_t middle = stretch.from + (stretch.to - stretch.from) / 2;
    const double value = value_at(middle);
    open.push_back({stretch.from, middle, stretch.low, value});
    open.push_back({middle, stretch.to, value, stretch.high});
  }
  return largest;
}

TwoSampleTest compare_samples(std::span<const double> a, std::span<const double> b) {
  require(!a.empty() && !b.empty(), "two samples to compare: {} and {} values, expected some of each",
          a.size(), b.size());
  const auto n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  TwoSampleTest test;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const double x = std::min(a[i], b[j]);
    while (i < a.size() && a[i] <= x) ++i;
    while (j < b.size() && b[j] <= x) ++j;
    test.distance =
        std::max(test.distance, std::fabs(static_cast<double>(i) / n - static_cast<double>(j) / m));
  }
  const double root = std::sqrt(n * m / (n + m));
  test.p_value = kolmogorov_tail((root + 0.12 + 0.11 / root) * test.distance);
  return test;
}

}  // namespace dw
