// The functions of cuDNN and cuBLAS that we call, under their own names: each is looked up in its library at
// its first call, so that the program links neither and starts where they are absent. A call that has no line
// here does not link.

// Hidden, so that the real libraries, when they are open, do not take these for each other's functions.
#pragma GCC visibility push(hidden)
#include <cublas_v2.h>
#include <cudnn.h>
#pragma GCC visibility pop

#include "kernels/cuda/shared_library.h"

namespace {

using dw::cuda_backend::cublas_library;
using dw::cuda_backend::cudnn_library;

/// Calls the function of this name and of `declared`'s type.
template <auto* declared, typename... Arguments>
auto call(const dw::cuda_backend::SharedLibrary& library, const char* name, Arguments... arguments) {
  static const auto function = reinterpret_cast<decltype(declared)>(library.address(name));
  return function(arguments...);
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() {
  return call<cudnnGetVersion>(cudnn_library(), "cudnnGetVersion");
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  return call<cudnnCreate>(cudnn_library(), "cudnnCreate", handle);
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  return call<cudnnDestroy>(cudnn_library(), "cudnnDestroy", handle);
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  return call<cudnnSetStream>(cudnn_library(), "cudnnSetStream", handle, stream);
}

const char* cudnnGetErrorString(cudnnStatus_t status) {
  return call<cudnnGetErrorString>(cudnn_library(), "cudnnGetErrorString", status);
}

void cudnnGetLastErrorString(char* message, size_t size) {
  call<cudnnGetLastErrorString>(cudnn_library(), "cudnnGetLastErrorString", message, size);
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* descriptor) {
  return call<cudnnBackendCreateDescriptor>(cudnn_library(), "cudnnBackendCreateDescriptor", type,
                                            descriptor);
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  return call<cudnnBackendDestroyDescriptor>(cudnn_library(), "cudnnBackendDestroyDescriptor", descriptor);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return call<cudnnBackendFinalize>(cudnn_library(), "cudnnBackendFinalize", descriptor);
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  return call<cudnnBackendSetAttribute>(cudnn_library(), "cudnnBackendSetAttribute", descriptor, name, type,
                                        count, values);
}

cudnnStatus_t cudnnBackendGetAttribute(const cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t requested, int64_t* count, void* values) {
  return call<cudnnBackendGetAttribute>(cudnn_library(), "cudnnBackendGetAttribute", descriptor, name, type,
                                        requested, count, values);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variants) {
  return call<cudnnBackendExecute>(cudnn_library(), "cudnnBackendExecute", handle, plan, variants);
}

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  return call<cublasCreate_v2>(cublas_library(), "cublasCreate_v2", handle);
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  return call<cublasDestroy_v2>(cublas_library(), "cublasDestroy_v2", handle);
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  return call<cublasSetStream_v2>(cublas_library(), "cublasSetStream_v2", handle, stream);
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t bytes) {
  return call<cublasSetWorkspace_v2>(cublas_library(), "cublasSetWorkspace_v2", handle, workspace, bytes);
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  return call<cublasSetMathMode>(cublas_library(), "cublasSetMathMode", handle, mode);
}

const char* cublasGetStatusName(cublasStatus_t status) {
  return call<cublasGetStatusName>(cublas_library(), "cublasGetStatusName", status);
}

const char* cublasGetStatusString(cublasStatus_t status) {
  return call<cublasGetStatusString>(cublas_library(), "cublasGetStatusString", status);
}

cublasStatus_t cublasGemmStridedBatchedEx_64(cublasHandle_t handle, cublasOperation_t transpose_a,
                                             cublasOperation_t transpose_b, int64_t m, int64_t n, int64_t k,
                                             const void* alpha, const void* a, cudaDataType type_a,
                                             int64_t row_a, long long int stride_a, const void* b,
                                             cudaDataType type_b, int64_t row_b, long long int stride_b,
                                             const void* beta, void* c, cudaDataType type_c, int64_t row_c,
                                             long long int stride_c, int64_t batch,
                                             cublasComputeType_t compute, cublasGemmAlgo_t algorithm) {
  return call<cublasGemmStridedBatchedEx_64>(cublas_library(), "cublasGemmStridedBatchedEx_64", handle,
                                             transpose_a, transpose_b, m, n, k, alpha, a, type_a, row_a,
                                             stride_a, b, type_b, row_b, stride_b, beta, c, type_c, row_c,
                                             stride_c, batch, compute, algorithm);
}
}
