// How a row-major matrix product is put to cuBLAS, which sees memory column by column. Apart from matmul.cpp
// so that the index logic is tested without a GPU.
#pragma once

#include <algorithm>

#include "kernels/table.h"

namespace dw::cuda_backend {

/// A column-major product C[rows, columns] = op(first) · op(second); "stride" is a leading dimension.
struct GemmCall {
  bool transpose_first = false, transpose_second = false;
  int64_t rows = 0, columns = 0, depth = 0;
  int64_t first_stride = 1, second_stride = 1, out_stride = 1;
};

/// Row-major memory read by columns is the transpose, so C = op(A) op(B) becomes Cᵀ = op(B)ᵀ op(A)ᵀ: B is
/// `first`, A is `second`, and their transposition flags stay as they are.
inline GemmCall gemm_call(const MatmulShape& s) {
  const auto at_least_one = [](int64_t stride) { return std::max<int64_t>(stride, 1); };
  return {.transpose_first = s.transpose_b,
          .transpose_second = s.transpose_a,
          .rows = s.n,
          .columns = s.m,
          .depth = s.k,
          .first_stride = at_least_one(s.transpose_b ? s.k : s.n),
          .second_stride = at_least_one(s.transpose_a ? s.m : s.k),
          .out_stride = at_least_one(s.n)};
}

}  // namespace dw::cuda_backend
