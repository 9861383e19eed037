#include "watermark/prediction.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "watermark/distributions.h"
#include "watermark/target.h"

namespace dw {

double predicted_bit_error_rate(double amplitude, double tau, double weights_per_bit,
                                double pruned_fraction) {
  require(amplitude > 0 && amplitude < 1 && tau > 0 && weights_per_bit > 0 && pruned_fraction >= 0 &&
              pruned_fraction < 1,
          "predicted bit error rate: amplitude {}, tau {}, {} weights a bit, pruned {}", amplitude, tau,
          weights_per_bit, pruned_fraction);
  const Distribution normal;
  const double threshold = pruned_fraction > 0 ? quantile(normal, 0.5 * (1 + pruned_fraction)) : 0;
  // E[φ; |v| > t] and E[φ²; |v| > t] under p_a: φ is odd, so the first picks the tilt and the second does not
  // see it.
  constexpr double end = 10;
  constexpr int steps = 20000;
  const double width = (end - threshold) / steps;
  double mean = 0, square = 0;
  for (int i = 0; i < steps; ++i) {
    const double x = threshold + (i + 0.5) * width;
    const double weight = 2 * std::exp(log_density(normal, x)) * width;
    const double score = evidence(x, amplitude, tau);
    mean += weight * amplitude * std::tanh(x / tau) * score;
    square += weight * score * score;
  }
  const double kept = weights_per_bit * (1 - pruned_fraction);
  const double deviations = std::sqrt(weights_per_bit) * mean / std::sqrt(square);
  const double erased = std::exp(-kept);
  return std::min(0.5 + 0.5 * erased, erased + (1 - erased) * cumulative(normal, -deviations));
}

}  // namespace dw
