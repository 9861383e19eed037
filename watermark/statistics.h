// How surprising a match is, and whether the null keys behave as theory says.
#pragma once

#include <cstdint>
#include <span>

namespace dw {

/// log2 of p = min(1, 2 P[Bin(trials, 1/2) >= max(matches, trials - matches)] * alternatives): the chance
/// that a key unrelated to the network does as well, either way round. Exact in the far tail, to 1e-10
/// relative; trials up to 2^20. 0 where trials is 0.
double log2_p_value(int64_t matches, int64_t trials, double alternatives = 1);

struct BinomialDraw {
  int64_t successes = 0;
  int64_t trials = 0;
};

/// log2 of P[Bin(trials, probability) >= successes]; trials up to 2^20, 0 < probability < 1.
double log2_binomial_tail(int64_t successes, int64_t trials, double probability);

/// p-value of a Kolmogorov-Smirnov test that draw i came from Bin(trials_i, probability), independently. Each
/// draw is spread uniformly over its step of the distribution function, F(k - 1) + v P(k), with v from a
/// counter-based generator keyed by `seed`; those values are exactly uniform under the null. NaN for fewer
/// than 2 draws.
double binomial_fit_p_value(std::span<const BinomialDraw> draws, uint64_t seed, double probability = 0.5);

/// P[K > x] of the Kolmogorov distribution, the limit of sqrt(n) times the largest distance.
double kolmogorov_tail(double x);

struct Moments {
  double mean = 0;
  double deviation = 0;  ///< of the sample, with n - 1; 0 for fewer than two values
};
Moments moments_of(std::span<const double> values);

}  // namespace dw
