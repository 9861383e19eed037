// One SIMD register of floats by the compiler's vector extension, as wide as the machine compiled for has.
#pragma once

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

}  // namespace dw::cpu_backend
