// Status checks of the CUDA libraries.
#include "kernels/cuda/check.h"

#include <array>

#include "kernels/error.h"

namespace dw::cuda_backend {
namespace {

[[noreturn]] void fail_at(std::string_view call, std::string_view reason, const std::source_location& where) {
  std::string_view file = where.file_name();
  if (const size_t folder = file.rfind("kernels/"); folder != file.npos) file.remove_prefix(folder);
  fail("{} failed: {} ({}:{})", call, reason, file, where.line());
}

}  // namespace

void check_cuda(cudaError_t status, std::string_view call, std::source_location where) {
  if (status == cudaSuccess) [[likely]]
    return;
  static_cast<void>(cudaGetLastError());
  fail_at(call, fmt::format("{}, {}", cudaGetErrorName(status), cudaGetErrorString(status)), where);
}

std::string last_cudnn_error() {
  std::array<char, 512> detail{};
  cudnnGetLastErrorString(detail.data(), detail.size());
  return detail.data();
}

void check_cudnn(cudnnStatus_t status, std::string_view call, std::source_location where) {
  if (status == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
  fail_at(call, fmt::format("{} {}", cudnnGetErrorString(status), last_cudnn_error()), where);
}

void check_cublas(cublasStatus_t status, std::string_view call, std::source_location where) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  fail_at(call, fmt::format("{}, {}", cublasGetStatusName(status), cublasGetStatusString(status)), where);
}

}  // namespace dw::cuda_backend
