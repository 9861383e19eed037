// Matrix products on the CPU: OpenBLAS, which divides large products among the threads by itself.
// Floor: 2 · m · n · k · batch flops, and the bytes of A, B and C once each (C twice where beta is not 0).
#include <cblas.h>

#include <algorithm>
#include <limits>

#include "kernels/table.h"

namespace dw::cpu_backend {
namespace {

template <typename T>
void multiply(const MatmulShape& s, const T* a, const T* b, T* c) {
  const auto size = [](int64_t value) { return static_cast<blasint>(value); };
  const auto transpose = [](bool yes) { return yes ? CblasTrans : CblasNoTrans; };
  const auto stride = [&](int64_t columns) { return size(std::max<int64_t>(columns, 1)); };
  const blasint stride_a = stride(s.transpose_a ? s.m : s.k), stride_b = stride(s.transpose_b ? s.k : s.n);
  if constexpr (sizeof(T) == sizeof(float))
    cblas_sgemm(CblasRowMajor, transpose(s.transpose_a), transpose(s.transpose_b), size(s.m), size(s.n),
                size(s.k), static_cast<float>(s.alpha), a, stride_a, b, stride_b, static_cast<float>(s.beta),
                c, stride(s.n));
  else
    cblas_dgemm(CblasRowMajor, transpose(s.transpose_a), transpose(s.transpose_b), size(s.m), size(s.n),
                size(s.k), s.alpha, a, stride_a, b, stride_b, s.beta, c, stride(s.n));
}

void matmul(Stream, const MatmulShape& s, const void* a, const void* b, void* c) {
  constexpr int64_t most = std::numeric_limits<blasint>::max();
  require(s.m >= 0 && s.n >= 0 && s.k >= 0 && s.m <= most && s.n <= most && s.k <= most,
          "matmul expects sizes from 0 to {}, found m {}, n {}, k {}", most, s.m, s.n, s.k);
  dispatch_float_double(s.dtype, "matmul on the CPU", [&](auto zero) {
    using T = decltype(zero);
    const auto product = [&](int64_t i) {
      multiply(s, static_cast<const T*>(a) + i * s.stride_a, static_cast<const T*>(b) + i * s.stride_b,
               static_cast<T*>(c) + i * s.stride_c);
    };
    // Many small products: one thread each, where OpenBLAS would not use more than one.
    const int64_t work = s.m * s.n * s.k;
    const bool across = s.batch > 1 && work < (1 << 18) && work * s.batch > (1 << 16);
    if (across) {
#pragma omp parallel for
      for (int64_t i = 0; i < s.batch; ++i) product(i);
    } else {
      for (int64_t i = 0; i < s.batch; ++i) product(i);
    }
  });
}

}  // namespace

void add_matmul(KernelTable& table) {
  table.matmul = matmul;
}

}  // namespace dw::cpu_backend
