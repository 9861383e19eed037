// How exactly f32 matrix products and convolutions are computed on a GPU: a process-wide switch.
#pragma once

#include <cstdint>
#include <string_view>

namespace dw {

/// fp32: every product in full single precision; tensor cores are not used for f32 data.
/// tf32: f32 operands of matmul and convolution may be rounded to TF32 (10 bits of mantissa) on tensor cores;
/// sums stay f32. Data of other dtypes and the CPU do not depend on it.
/// bf16: training computes in bf16 (core/mixed_precision.h), on every device; f32 data as under tf32.
enum class Precision : uint8_t { fp32, tf32, bf16 };

/// Applies to work queued from now on, by any thread. A captured graph keeps what it was captured with.
void set_precision(Precision precision);

/// fp32 until set.
Precision precision();

/// "fp32", "tf32", "bf16".
constexpr std::string_view name_of(Precision precision) {
  return precision == Precision::fp32 ? "fp32" : precision == Precision::tf32 ? "tf32" : "bf16";
}

/// The one of that name; fp32 for any other.
constexpr Precision precision_named(std::string_view name) {
  return name == name_of(Precision::bf16)   ? Precision::bf16
         : name == name_of(Precision::tf32) ? Precision::tf32
                                            : Precision::fp32;
}

/// Whether f32 products may be rounded to TF32 where the device has it.
inline bool rounds_to_tf32() {
  return precision() != Precision::fp32;
}

}  // namespace dw
