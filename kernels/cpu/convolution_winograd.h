// Fast 3x3 convolution in single precision: see convolution_winograd.cpp.
#pragma once

#include "kernels/table.h"

namespace dw::cpu_backend {

/// Whether the functions below handle this problem, and faster than oneDNN.
bool winograd_fits(const ConvShape& shape);

void winograd_forward(const ConvShape& shape, const float* in, const float* weight, float* out);
void winograd_backward_data(const ConvShape& shape, const float* out_gradient, const float* weight,
                            float* in_gradient);
void winograd_backward_weight(const ConvShape& shape, const float* in, const float* out_gradient,
                              float* weight_gradient);

/// The same forward by filters that were transformed once for many calls, of all batches: four times their
/// size.
bool winograd_keeps(const ConvShape& shape);
size_t winograd_filter_bytes(const ConvShape& shape);
Buffer winograd_filters(const ConvShape& shape, const float* weight);
void winograd_forward_kept(const ConvShape& shape, const float* in, const Buffer& filters, float* out);

/// The same for so few tiles that those would take longer, forward only: see convolution_winograd_few.cpp.
bool winograd_few_fits(const ConvShape& shape);
void winograd_few_forward(const ConvShape& shape, const float* in, const float* weight, float* out);

}  // namespace dw::cpu_backend
