// Convolution in single precision between few channels: see convolution_direct.cpp.
#pragma once

#include "kernels/table.h"

namespace dw::cpu_backend {

/// Whether the functions below serve a problem: few channels, no groups, no dilation.
bool direct_fits(const ConvShape& shape);

void direct_forward(const ConvShape& shape, const float* in, const float* weight, float* out);
void direct_backward_weight(const ConvShape& shape, const float* in, const float* out_gradient,
                            float* weight_gradient);

}  // namespace dw::cpu_backend
