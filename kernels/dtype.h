// Element types of tensors and files.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/error.h"

namespace dw {

enum class DType : uint8_t { f32, f64, bf16, i64, u8 };

/// bfloat16: the upper half of a float. Storage only; arithmetic happens in float.
struct bfloat16 {
  uint16_t bits = 0;

  constexpr bfloat16() = default;
  /// Rounds to nearest, ties to even; a NaN stays a NaN.
  constexpr explicit bfloat16(float value) {
    const auto word = std::bit_cast<uint32_t>(value);
    const bool is_nan = (word & 0x7fffffffU) > 0x7f800000U;
    bits = is_nan ? static_cast<uint16_t>((word >> 16) | 0x40U)
                  : static_cast<uint16_t>((word + 0x7fffU + ((word >> 16) & 1U)) >> 16);
  }
  constexpr explicit operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
  constexpr explicit operator double() const { return static_cast<double>(static_cast<float>(*this)); }
};

/// Bytes of one element.
constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

/// Lower-case name: "f32", "f64", "bf16", "i64", "u8".
constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
  }
  return "?";
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::bf16;
}

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bfloat16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};

/// The DType of a C++ element type.
template <typename T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

/// Calls `body(T{})` with the C++ type of a floating `dtype`; `what` names the operation in the error.
template <typename Body>
decltype(auto) dispatch_floating(DType dtype, std::string_view what, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::f64:
      return body(double{});
    case DType::bf16:
      return body(bfloat16{});
    default:
      break;
  }
  fail("{} expects a floating dtype, found {}", what, name_of(dtype));
}

/// Same for f32 and f64 only (operations whose arithmetic must not be rounded to bf16).
template <typename Body>
decltype(auto) dispatch_float_double(DType dtype, std::string_view what, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::f64:
      return body(double{});
    default:
      break;
  }
  fail("{} expects f32 or f64, found {}", what, name_of(dtype));
}

/// Same for every dtype.
template <typename Body>
decltype(auto) dispatch_any(DType dtype, Body&& body) {
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
      break;
  }
  return body(uint8_t{});
}

}  // namespace dw
