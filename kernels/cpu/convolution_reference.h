// Convolution in double precision: see convolution_reference.cpp.
#pragma once

#include "kernels/table.h"

namespace dw::cpu_backend {

void reference_forward(const ConvShape& shape, const double* in, const double* weight, double* out);
void reference_backward_data(const ConvShape& shape, const double* out_gradient, const double* weight,
                             double* in_gradient);
void reference_backward_weight(const ConvShape& shape, const double* in, const double* out_gradient,
                               double* weight_gradient);

}  // namespace dw::cpu_backend
