// Convolution in single precision for every shape: see convolution_patches.cpp.
#pragma once

#include "kernels/table.h"

namespace dw::cpu_backend {

void patches_forward(const ConvShape& shape, const float* in, const float* weight, float* out);
void patches_backward_data(const ConvShape& shape, const float* out_gradient, const float* weight,
                           float* in_gradient);
void patches_backward_weight(const ConvShape& shape, const float* in, const float* out_gradient,
                             float* weight_gradient);

}  // namespace dw::cpu_backend
