// Element types inside bodies: what they are computed in, and run-wise application of a function.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/bodies/loop.h"
#include "kernels/dtype.h"

namespace dw::DEEPWATER_BACKEND {

/// The type that elements of type T are computed in: float for bf16, int64_t for u8.
template <typename T>
using Arithmetic = std::conditional_t<std::is_same_v<T, bfloat16>, float,
                                      std::conditional_t<std::is_same_v<T, uint8_t>, int64_t, T>>;

template <typename T>
HD constexpr Arithmetic<T> load(T value) {
  return static_cast<Arithmetic<T>>(value);
}

/// Converts a computed value to the element type T.
template <typename T, typename Value>
HD constexpr T store(Value value) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return bfloat16(static_cast<float>(value));
  else if constexpr (std::is_same_v<T, uint8_t> && std::is_floating_point_v<Value>)
    return static_cast<uint8_t>(static_cast<int64_t>(value));
  else
    return static_cast<T>(value);
}

/// dispatch_any for device code: body(T{}) with the type of `dtype`.
template <typename Body>
HD void with_type(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::f64:
      return body(double{});
    case DType::bf16:
      return body(bfloat16{});
    case DType::i64:
      return body(int64_t{});
    case DType::u8:
      return body(uint8_t{});
  }
}

// The loops below may run in place (same strides), which the compiler cannot see: ivdep says that no element
// depends on another.

/// out = f(in) along a run of (out, in).
template <typename Out, typename In, typename Function>
HD void map_run(const Run<2>& run, Out* out, const In* in, const Function& f) {
  out += run.offset[0];
  in += run.offset[1];
  const int64_t n = run.count, s0 = run.stride[0], s1 = run.stride[1];
  if (s0 == 1 && s1 == 1) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = f(in[i]);
  } else if (s0 == 1 && s1 == 0) {
    const Out value = f(in[0]);
    for (int64_t i = 0; i < n; ++i) out[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) out[i * s0] = f(in[i * s1]);
  }
}

/// out = f(a, b) along a run of (out, a, b).
template <typename Out, typename In, typename Function>
HD void map_run(const Run<3>& run, Out* out, const In* a, const In* b, const Function& f) {
  out += run.offset[0];
  a += run.offset[1];
  b += run.offset[2];
  const int64_t n = run.count, s0 = run.stride[0], s1 = run.stride[1], s2 = run.stride[2];
  if (s0 == 1 && s1 == 1 && s2 == 1) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  } else if (s0 == 1 && s1 == 1 && s2 == 0) {
    const In value = b[0];
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], value);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i * s0] = f(a[i * s1], b[i * s2]);
  }
}

}  // namespace dw::DEEPWATER_BACKEND
