// What follows a convolution, out of a table's other kernels.
#pragma once

#include "kernels/device.h"
#include "kernels/table.h"

namespace dw {

/// Dense images as rows of pixels.
struct PixelRows {
  int64_t rows, width, channels;
};

/// images += bias [channels], both of one dtype, a whole row of pixels at a time: a run of so few channels as
/// small networks have would take longer to find than to add. Floor: that of binary.
void add_bias(const KernelTable& table, Stream stream, DType dtype, const PixelRows& shape, const void* bias,
              void* images);

/// KernelTable::conv_max_pool for what has no kernel of its own, `together` images at a time. Floor: that of
/// conv_forward, max_pool, binary and unary.
void conv_then_max_pool(const KernelTable& table, Stream stream, const ConvShape& convolution,
                        const PoolShape& pooling, const void* in, const void* weight, const void* bias,
                        bool relu, void* out, int64_t together);

}  // namespace dw
