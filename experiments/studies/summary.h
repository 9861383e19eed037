// How experiments write repeated measurements.
#pragma once

#include <fmt/format.h>

#include <span>
#include <string>

#include "watermark/statistics.h"

namespace dw {

/// "66.9 ± 0.3" (mean and deviation of the sample), or the value alone; `sign`: with a plus in front.
inline std::string spread(std::span<const double> values, bool sign = false) {
  const Moments moments = moments_of(values);
  const std::string mean = sign ? fmt::format("{:+.2f}", moments.mean) : fmt::format("{:.2f}", moments.mean);
  return values.size() < 2 ? mean : fmt::format("{} ± {:.2f}", mean, moments.deviation);
}

}  // namespace dw
