// One SIMD register of floats by the compiler's vector extension, as wide as the machine compiled for has.
#pragma once

#include <cstdint>
#include <cstring>

namespace dw::cpu_backend {

#if defined(__AVX512F__)
inline constexpr int lanes = 16;
#elif defined(__AVX__)
inline constexpr int lanes = 8;
#else
inline constexpr int lanes = 4;
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
  using Lanes [[gnu::vector_size(lanes * sizeof(int32_t))]] = int32_t;
  Lanes upper{}, lower{};  // which lanes of the two rows of a pair
  for (int lane = 0; lane < lanes; ++lane) {
    const bool second = (lane & size) != 0;
    upper[lane] = second ? lanes + lane - size : lane;
    lower[lane] = second ? lanes + lane : lane + size;
  }
#pragma GCC unroll 16
  for (int row = 0; row < lanes; ++row) {
    if ((row & size) != 0) continue;
    const Vector a = rows[row], b = rows[row + size];
    rows[row] = __builtin_shuffle(a, b, upper);
    rows[row + size] = __builtin_shuffle(a, b, lower);
  }
  if constexpr (size > 1) transpose<size / 2>(rows);
}

}  // namespace dw::cpu_backend
