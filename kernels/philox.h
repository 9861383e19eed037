// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): counter-based random
// numbers, so that a draw depends on (seed, stream, step, element) and never on threads or launch shape.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/hd.h"

namespace dw {

/// Names a sequence of draws. `stream` says what the numbers are for, `step` which repetition.
struct PhiloxKey {
  uint64_t seed = 0;
  uint32_t stream = 0;
  uint32_t step = 0;
};

/// A key as kernels take it: its step may lie in device memory, so that every replay of a captured step draws
/// anew.
struct RandomKey {
  PhiloxKey key;
  const int64_t* step = nullptr;  ///< where set, the kernel takes the step from here and not from `key`

  RandomKey(const PhiloxKey& fixed) : key(fixed) {}
  /// `first` names the first draw's seed and stream.
  RandomKey(const PhiloxKey& first, const int64_t* device_step) : key(first), step(device_step) {}
  HD PhiloxKey at_step() const {
    return step != nullptr ? PhiloxKey{key.seed, key.stream, static_cast<uint32_t>(*step)} : key;
  }
};

struct PhiloxWords {
  uint32_t word[4];
};

/// Four random words for counter `element` of the sequence `key`.
HD constexpr PhiloxWords philox(const PhiloxKey& key, uint64_t element) {
  uint32_t c0 = static_cast<uint32_t>(element), c1 = static_cast<uint32_t>(element >> 32);
  uint32_t c2 = key.stream, c3 = key.step;
  uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ULL * c0;
    const uint64_t p1 = 0xCD9E8D57ULL * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {{c0, c1, c2, c3}};
}

/// Uniform in [0, 1) with 24 bits; the same float on every device.
HD constexpr float uniform_from(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24F;
}

}  // namespace dw
