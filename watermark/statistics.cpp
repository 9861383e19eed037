#include "watermark/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <vector>

#include "kernels/error.h"

namespace dw {
namespace {

constexpr int64_t maximum_trials = 1 << 20;

/// Natural logarithm of P[Bin(trials, 1/2) = k]. In long double: near the centre the result is a small
/// difference of large numbers.
long double log_probability(int64_t k, int64_t trials) {
  return std::lgamma(static_cast<long double>(trials + 1)) - std::lgamma(static_cast<long double>(k + 1)) -
         std::lgamma(static_cast<long double>(trials - k + 1)) -
         static_cast<long double>(trials) * std::numbers::ln2_v<long double>;
}

/// The same of Bin(trials, probability).
long double log_probability(int64_t k, int64_t trials, double probability) {
  const auto p = static_cast<long double>(probability);
  return log_probability(k, trials) + static_cast<long double>(k) * std::log(2 * p) +
         static_cast<long double>(trials - k) * (std::log1p(-p) + std::numbers::ln2_v<long double>);
}

void require_probability(double probability) {
  require(probability > 0 && probability < 1, "binomial: probability {}, expected between 0 and 1",
          probability);
}

/// F(k - 1) and F(k) for k = 0 .. trials, as one table: F(k) = table[k + 1].
std::vector<double> distribution_table(int64_t trials, double probability) {
  std::vector<double> table(static_cast<size_t>(trials) + 2, 0.0);
  long double sum = 0;
  for (int64_t k = 0; k <= trials; ++k) {
    sum += std::exp(log_probability(k, trials, probability));
    table[static_cast<size_t>(k) + 1] = std::min(1.0, static_cast<double>(sum));
  }
  return table;
}

/// The SplitMix64 generator's output number `index`, as a number in [0, 1).
double uniform(uint64_t seed, uint64_t index) {
  uint64_t x = seed + (index + 1) * 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1p-53;
}

}  // namespace

double kolmogorov_tail(double x) {
  if (x < 0.2) return 1;  // 1 - 1e-12; the series below converges slowly there
  double sum = 0;
  for (int k = 1; k <= 100; ++k) {
    const double term = std::exp(-2.0 * k * k * x * x);
    sum += k % 2 == 1 ? term : -term;
    if (term < 1e-18) break;
  }
  return std::clamp(2 * sum, 0.0, 1.0);
}

double log2_p_value(int64_t matches, int64_t trials, double alternatives) {
  require(trials >= 0 && trials <= maximum_trials && matches >= 0 && matches <= trials,
          "p-value of {} matches of {}: expected 0 <= matches <= trials <= {}", matches, trials,
          maximum_trials);
  require(alternatives >= 1 && std::isfinite(alternatives), "p-value: {} alternatives, expected at least 1",
          alternatives);
  if (trials == 0) return 0;
  const int64_t start = std::max(matches, trials - matches);
  // The terms from `start` on, relative to the first: they only decrease.
  long double term = 1;
  long double sum = 0;
  for (int64_t k = start; k <= trials && term > 1e-22L * sum; ++k) {
    sum += term;
    term *= static_cast<long double>(trials - k) / static_cast<long double>(k + 1);
  }
  const long double log_tail = log_probability(start, trials) + std::log(sum);
  const long double log2_p =
      log_tail / std::numbers::ln2_v<long double> + 1 + std::log2(static_cast<long double>(alternatives));
  return std::min(0.0, static_cast<double>(log2_p));
}

double log2_binomial_tail(int64_t successes, int64_t trials, double probability) {
  require(trials >= 0 && trials <= maximum_trials && successes >= 0 && successes <= trials,
          "binomial tail from {} of {}: expected 0 <= successes <= trials <= {}", successes, trials,
          maximum_trials);
  require_probability(probability);
  // Relative to the largest term, so that nothing overflows.
  const auto mode = static_cast<int64_t>(static_cast<double>(trials) * probability);
  const long double largest = log_probability(std::clamp(mode, successes, trials), trials, probability);
  long double sum = 0;
  for (int64_t k = successes; k <= trials; ++k)
    sum += std::exp(log_probability(k, trials, probability) - largest);
  return std::min(0.0, static_cast<double>((largest + std::log(sum)) / std::numbers::ln2_v<long double>));
}

double binomial_fit_p_value(std::span<const BinomialDraw> draws, uint64_t seed, double probability) {
  require_probability(probability);
  const size_t count = draws.size();
  if (count < 2) return std::numeric_limits<double>::quiet_NaN();
  std::map<int64_t, std::vector<double>> tables;
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) {
    const auto [successes, trials] = draws[i];
    require(trials >= 0 && trials <= maximum_trials && successes >= 0 && successes <= trials,
            "binomial fit: draw {} has {} successes of {}", i, successes, trials);
    std::vector<double>& table = tables[trials];
    if (table.empty()) table = distribution_table(trials, probability);
    const double below = table[static_cast<size_t>(successes)];
    const double upto = table[static_cast<size_t>(successes) + 1];
    values[i] = below + uniform(seed, i) * (upto - below);
  }
  std::sort(values.begin(), values.end());
  double distance = 0;
  const auto n = static_cast<double>(count);
  for (size_t i = 0; i < count; ++i) {
    const auto rank = static_cast<double>(i);
    distance = std::max({distance, (rank + 1) / n - values[i], values[i] - rank / n});
  }
  // Stephens' correction makes the asymptotic distribution good from a handful of draws on.
  return kolmogorov_tail((std::sqrt(n) + 0.12 + 0.11 / std::sqrt(n)) * distance);
}

Moments moments_of(std::span<const double> values) {
  Moments moments;
  if (values.empty()) return moments;
  for (const double value : values) moments.mean += value;
  moments.mean /= static_cast<double>(values.size());
  if (values.size() < 2) return moments;
  double squares = 0;
  for (const double value : values) squares += (value - moments.mean) * (value - moments.mean);
  moments.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return moments;
}

}  // namespace dw
