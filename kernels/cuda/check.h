// Turns the status codes of CUDA, cuDNN and cuBLAS into dw::Error with the failing call, the library's own
// text and the place.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include <source_location>
#include <string>
#include <string_view>

namespace dw::cuda_backend {

/// `call` names the failing expression, e.g. "cudaMalloc". Clears the runtime's last error.
void check_cuda(cudaError_t status, std::string_view call,
                std::source_location where = std::source_location::current());

/// cuDNN's own words about this thread's last failure.
std::string last_cudnn_error();

void check_cudnn(cudnnStatus_t status, std::string_view call,
                 std::source_location where = std::source_location::current());

void check_cublas(cublasStatus_t status, std::string_view call,
                  std::source_location where = std::source_location::current());

}  // namespace dw::cuda_backend
