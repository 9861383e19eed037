// One SIMD register of floats by the compiler's vector extension, as wide as the machine compiled for has.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace dw::cpu_backend {

#if defined(__AVX512F__)
inline constexpr int64_t lanes = 16;
#elif defined(__AVX__)
inline constexpr int64_t lanes = 8;
#else
inline constexpr int64_t lanes = 4;
#endif

using Vector [[gnu::vector_size(lanes * sizeof(float))]] = float;

inline Vector load(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline void store(const Vector& value, float* to) {
  std::memcpy(to, &value, sizeof(value));
}

/// Exchanges the halves of 2 × 2 blocks of `size` lanes and rows that are not on the diagonal, then those of
/// half the size within each.
template <int size = lanes / 2>
[[gnu::always_inline]] inline void transpose(Vector (&rows)[lanes]) {
  [&]<int... lane>(std::integer_sequence<int, lane...>) {
#pragma GCC unroll 16
    for (int row = 0; row < lanes; ++row) {
      if ((row & size) != 0) continue;
      const Vector a = rows[row], b = rows[row + size];
      rows[row] = __builtin_shufflevector(a, b, ((lane & size) != 0 ? lanes + lane - size : lane)...);
      rows[row + size] = __builtin_shufflevector(a, b, ((lane & size) != 0 ? lanes + lane : lane + size)...);
    }
  }
  (std::make_integer_sequence<int, lanes>{});
  if constexpr (size > 1) transpose<size / 2>(rows);
}

}  // namespace dw::cpu_backend
