// How exactly f32 matrix products and convolutions are computed on a GPU: a process-wide switch.
#pragma once

#include <cstdint>

namespace dw {

/// fp32: every product in full single precision; tensor cores are not used for f32 data.
/// tf32: f32 operands of matmul and convolution may be rounded to TF32 (10 bits of mantissa) on tensor cores;
/// sums stay f32. Data of other dtypes and the CPU do not depend on it.
enum class Precision : uint8_t { fp32, tf32 };

/// Applies to work queued from now on, by any thread. A captured graph keeps what it was captured with.
void set_precision(Precision precision);

/// fp32 until set.
Precision precision();

}  // namespace dw
