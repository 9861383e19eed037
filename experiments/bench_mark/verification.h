// Times the verification of a model file against its weights and the number of null keys.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace dw {

struct VerificationTime {
  int64_t weights = 0;
  int keys = 0;
  double seconds = 0;
  double megabytes = 0;  ///< by which the process grew at most; NaN where the system does not say

  double nanoseconds_each() const {
    return 1e9 * seconds / (static_cast<double>(weights) * static_cast<double>(keys));
  }
};

/// The largest first with all keys, then fewer keys, then fewer weights.
std::vector<VerificationTime> measure_verification(
    int64_t largest, int keys, const std::function<void(const std::string& note)>& progress);

}  // namespace dw
