// Matrix products on the CPU: oneDNN in f32, OpenBLAS in f64. Both divide large products among the threads by
// themselves. OpenBLAS chooses its kernels from a list of processors, and on those newer than itself it takes
// SSE3, a tenth of the rate; oneDNN asks the processor what it can do.
// Floor: 2 · m · n · k · batch flops, and the bytes of A, B and C once each (C twice where beta is not 0).
#include <cblas.h>

#include <algorithm>
#include <dnnl.hpp>
#include <limits>

#include "kernels/table.h"

namespace dw::cpu_backend {
namespace {

/// Floats from one row to the next of A and of B as they lie in memory.
int64_t stride_of_a(const MatmulShape& s) {
  return std::max<int64_t>(s.transpose_a ? s.m : s.k, 1);
}
int64_t stride_of_b(const MatmulShape& s) {
  return std::max<int64_t>(s.transpose_b ? s.k : s.n, 1);
}

void multiply(const MatmulShape& s, const float* a, const float* b, float* c) {
  const auto transpose = [](bool yes) { return yes ? 'T' : 'N'; };
  const auto beta = static_cast<float>(s.beta);
  if (s.m == 0 || s.n == 0) return;
  if (s.k == 0) {  // a sum of nothing, which oneDNN refuses
    std::transform(c, c + s.m * s.n, c, [=](float value) { return beta == 0 ? 0.0F : beta * value; });
    return;
  }
  const dnnl_status_t status = dnnl_sgemm(transpose(s.transpose_a), transpose(s.transpose_b), s.m, s.n, s.k,
                                          static_cast<float>(s.alpha), a, stride_of_a(s), b, stride_of_b(s),
                                          beta, c, std::max<int64_t>(s.n, 1));
  require(status == dnnl_success, "oneDNN refused the product of {} x {} and {} x {}: status {}", s.m, s.k,
          s.k, s.n, static_cast<int>(status));
}

void multiply(const MatmulShape& s, const double* a, const double* b, double* c) {
  const auto size = [](int64_t value) { return static_cast<blasint>(value); };
  const auto transpose = [](bool yes) { return yes ? CblasTrans : CblasNoTrans; };
  cblas_dgemm(CblasRowMajor, transpose(s.transpose_a), transpose(s.transpose_b), size(s.m), size(s.n),
              size(s.k), s.alpha, a, size(stride_of_a(s)), b, size(stride_of_b(s)), s.beta, c,
              size(std::max<int64_t>(s.n, 1)));
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
    // Many small products: one thread each, where the libraries would not use more than one.
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
