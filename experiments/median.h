// The median of measured values.
#pragma once

#include <algorithm>
#include <vector>

namespace dw {

/// 0 of none; of an even number the mean of the middle two.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

}  // namespace dw
