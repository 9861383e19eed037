// Matrix products on CUDA: cuBLAS. Floor: 2 · m · n · k · batch flops, and the bytes of A, B and C once each
// (C twice where beta is not 0). Deterministic: one stream, one workspace per handle.
#include "kernels/cuda/check.h"
#include "kernels/cuda/gemm_call.h"
#include "kernels/cuda/libraries.h"
#include "kernels/precision.h"

namespace dw::cuda_backend {
namespace {

struct GemmTypes {
  cudaDataType_t data;
  cublasComputeType_t compute;
};

GemmTypes types_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return {CUDA_R_32F, rounds_to_tf32() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F};
    case DType::f64:
      return {CUDA_R_64F, CUBLAS_COMPUTE_64F};
    case DType::bf16:
      return {CUDA_R_16BF, CUBLAS_COMPUTE_32F};
    default:
      break;
  }
  fail("matmul on CUDA expects f32, f64 or bf16, found {}", name_of(dtype));
}

void matmul(Stream stream, const MatmulShape& s, const void* a, const void* b, void* c) {
  require(s.m >= 0 && s.n >= 0 && s.k >= 0 && s.batch >= 0,
          "matmul expects sizes of 0 or more, found m {}, n {}, k {}, batch {}", s.m, s.n, s.k, s.batch);
  if (s.m == 0 || s.n == 0 || s.batch == 0) return;
  const GemmCall call = gemm_call(s);
  const GemmTypes types = types_of(s.dtype);
  const auto operation = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  // Scale factors have the type of the sum.
  const auto alpha = static_cast<float>(s.alpha), beta = static_cast<float>(s.beta);
  const bool f64 = s.dtype == DType::f64;
  const void* alpha_pointer = f64 ? static_cast<const void*>(&s.alpha) : &alpha;
  const void* beta_pointer = f64 ? static_cast<const void*>(&s.beta) : &beta;
  check_cublas(cublasGemmStridedBatchedEx_64(
                   cublas_handle(stream), operation(call.transpose_first), operation(call.transpose_second),
                   call.rows, call.columns, call.depth, alpha_pointer, b, types.data, call.first_stride,
                   s.stride_b, a, types.data, call.second_stride, s.stride_a, beta_pointer, c, types.data,
                   call.out_stride, s.stride_c, s.batch, types.compute, CUBLAS_GEMM_DEFAULT),
               "cublasGemmStridedBatchedEx");
}

}  // namespace

void add_matmul(KernelTable& table) {
  table.matmul = matmul;
}

}  // namespace dw::cuda_backend
