// Handles of the vendor libraries: one per thread and device, made at first use.
#pragma once

#include <cublas_v2.h>
#include <cudnn.h>

#include "kernels/device.h"

namespace dw::cuda_backend {

/// This thread's cuDNN handle for the stream's device, set to queue on `stream`.
cudnnHandle_t cudnn_handle(Stream stream);

/// This thread's cuBLAS handle, likewise. It owns its workspace, so that its work can be captured into a
/// graph and its results do not depend on other streams, and it sums bf16 products in f32 throughout.
cublasHandle_t cublas_handle(Stream stream);

}  // namespace dw::cuda_backend
