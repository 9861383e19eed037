// Per-thread handles of cuDNN and cuBLAS.
#include "kernels/cuda/libraries.h"

#include <map>

#include "kernels/cuda/check.h"

namespace dw::cuda_backend {
namespace {

cudaStream_t queue_of(Stream stream) {
  return static_cast<cudaStream_t>(stream.handle);
}

struct DnnHandle {
  cudnnHandle_t handle = nullptr;
  DnnHandle() { check_cudnn(cudnnCreate(&handle), "cudnnCreate"); }
  DnnHandle(const DnnHandle&) = delete;
  DnnHandle& operator=(const DnnHandle&) = delete;
  ~DnnHandle() { cudnnDestroy(handle); }
};

struct BlasHandle {
  static constexpr size_t workspace_bytes = size_t{32} << 20;  // what cuBLAS recommends on Hopper

  cublasHandle_t handle = nullptr;
  Buffer workspace;
  explicit BlasHandle(Stream stream) : workspace(stream.device, workspace_bytes) {
    check_cublas(cublasCreate(&handle), "cublasCreate");
    // Setting the stream drops the workspace, so it comes second.
    check_cublas(cublasSetStream(handle, queue_of(stream)), "cublasSetStream");
    check_cublas(cublasSetWorkspace(handle, workspace.data(), workspace.bytes()), "cublasSetWorkspace");
    constexpr auto mode =
        static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
    check_cublas(cublasSetMathMode(handle, mode), "cublasSetMathMode");
  }
  BlasHandle(const BlasHandle&) = delete;
  BlasHandle& operator=(const BlasHandle&) = delete;
  ~BlasHandle() { cublasDestroy(handle); }
};

}  // namespace

cudnnHandle_t cudnn_handle(Stream stream) {
  static thread_local std::map<int, DnnHandle> handles;
  const cudnnHandle_t handle = handles[stream.device.index].handle;
  check_cudnn(cudnnSetStream(handle, queue_of(stream)), "cudnnSetStream");
  return handle;
}

cublasHandle_t cublas_handle(Stream stream) {
  static thread_local std::map<void*, BlasHandle> handles;
  return handles.try_emplace(stream.handle, stream).first->second.handle;
}

}  // namespace dw::cuda_backend
