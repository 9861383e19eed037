// Convolution and maximum pooling behind it out of a table's other kernels, for what has no kernel of its
// own.
#pragma once

#include "kernels/device.h"
#include "kernels/table.h"

namespace dw {

/// KernelTable::conv_max_pool, `together` images at a time. Floor: that of conv_forward, max_pool and binary.
void conv_then_max_pool(const KernelTable& table, Stream stream, const ConvShape& convolution,
                        const PoolShape& pooling, const void* in, const void* weight, const void* bias,
                        bool relu, void* out, int64_t together);

}  // namespace dw
