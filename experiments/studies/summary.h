// How experiments write repeated measurements and judge differences between them.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "experiments/experiment.h"
#include "watermark/statistics.h"

namespace dw {

/// "66.9 ± 0.3" (mean and deviation of the sample), or the value alone; `sign`: with a plus in front.
inline std::string spread(std::span<const double> values, bool sign = false) {
  const Moments moments = moments_of(values);
  const std::string mean = sign ? fmt::format("{:+.2f}", moments.mean) : fmt::format("{:.2f}", moments.mean);
  return values.size() < 2 ? mean : fmt::format("{} ± {:.2f}", mean, moments.deviation);
}

/// Of the values' mean; 0 for one value, which says nothing of its spread.
inline double two_standard_errors(std::span<const double> values) {
  return 2 * moments_of(values).deviation / std::sqrt(static_cast<double>(values.size()));
}

/// Of paired differences in accuracy, in points: the mean is not below zero by more than two standard errors.
/// One pair alone says nothing of its spread and does not meet it.
inline Goal no_loss_goal(const std::string& statement, std::span<const double> differences) {
  const Moments moments = moments_of(differences);
  const double allowed = two_standard_errors(differences);
  return {statement,
          fmt::format("{} points in {} seeds; two standard errors are {:.2f}", spread(differences, true),
                      differences.size(), allowed),
          differences.size() > 1 && moments.mean >= -allowed};
}

/// The worst of several readings of marks.
struct WorstReading {
  int readings = 0, bits = 0, errors = 0;
  double log2_p = -1e9;

  void add(const MarkReading& reading) {
    ++readings;
    bits = reading.bits;
    errors = std::max(errors, reading.errors);
    log2_p = std::max(log2_p, reading.log2_p);
  }
  Goal no_error_goal(const std::string& statement) const {
    return {statement, fmt::format("at most {} of {} bits wrong in {} readings", errors, bits, readings),
            readings > 0 && errors == 0};
  }
  Goal proven_goal(const std::string& statement) const {
    constexpr double owned_log2_p = -64;
    return {statement, fmt::format("weakest p = 2^{:.0f} in {} readings", log2_p, readings),
            readings > 0 && log2_p <= owned_log2_p};
  }
};

}  // namespace dw
