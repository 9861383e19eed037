// Matrix products on the CPU: f32 by oneDNN, or by multiply_small what takes less time than that needs to
// write its kernels at the first product; f64 by OpenBLAS. Both libraries divide large products among the
// threads by themselves. OpenBLAS chooses its kernels from a list of processors, and on those newer than
// itself it takes SSE3, a tenth of the rate; oneDNN asks the processor what it can do.
// Floor: 2 · m · n · k · batch flops, and the bytes of A, B and C once each (C twice where beta is not 0).
#include <cblas.h>

#include <algorithm>
#include <dnnl.hpp>
#include <limits>

#include "kernels/cpu/float_buffer.h"
#include "kernels/cpu/matrix_tile.h"
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

/// Whether the product has several rows, and one thread takes no more than microseconds.
bool is_small(const MatmulShape& s) {
  constexpr int64_t few_products = 1 << 19, least_rows = 8;
  return s.m >= least_rows && s.k <= few_products / s.m && s.n <= few_products / (s.m * s.k);
}

/// `count` columns of B from `column` on, as rows [k][width] with zeros behind them.
void pack_columns(const MatmulShape& s, const float* b, int64_t column, int64_t count, int64_t width,
                  float* to) {
  if (!s.transpose_b) {
    for (int64_t row = 0; row < s.k; ++row, to += width) {
      std::copy_n(b + row * s.n + column, count, to);
      std::fill_n(to + count, width - count, 0.0F);
    }
    return;
  }
  for (int64_t first = 0; first < width; first += lanes) {
    const float* from = b + (column + first) * s.k;
    const int64_t filled = std::min(lanes, count - first);
    int64_t row = 0;
    for (; row + lanes <= s.k; row += lanes) {
      Vector block[lanes] = {};
      for (int64_t lane = 0; lane < filled; ++lane) block[lane] = load(from + lane * s.k + row);
      transpose(block);
      for (int64_t i = 0; i < lanes; ++i) store(block[i], to + (row + i) * width + first);
    }
    for (; row < s.k; ++row)
      for (int64_t lane = 0; lane < lanes; ++lane)
        to[row * width + first + lane] = lane < filled ? from[lane * s.k + row] : 0.0F;
  }
}

/// Rows [rows][width] of sums to `count` columns of C.
void write_columns(const MatmulShape& s, const float* sums, int64_t rows, int64_t width, int64_t count,
                   float* c) {
  const auto alpha = static_cast<float>(s.alpha), beta = static_cast<float>(s.beta);
  for (int64_t row = 0; row < rows; ++row, sums += width, c += s.n)
    for (int64_t i = 0; i < count; ++i) c[i] = alpha * sums[i] + (beta == 0 ? 0.0F : beta * c[i]);
}

void multiply_small(const MatmulShape& s, const float* a, const float* b, float* c) {
  constexpr int64_t widest = 2 * lanes;
  const int64_t row_step = s.transpose_a ? 1 : s.k, depth_step = s.transpose_a ? s.m : 1;
  const Buffer scratch = float_buffer(widest * (s.k + tile_rows));
  float* packed = floats(scratch);
  float* sums = packed + widest * s.k;
  for_each_panel(s.n, [&](int64_t column, auto vectors) {
    constexpr int64_t width = decltype(vectors)::value * lanes;
    const int64_t columns = std::min(width, s.n - column);
    pack_columns(s, b, column, columns, width, packed);
    for (int64_t row = 0; row < s.m; row += tile_rows) {
      const int64_t rows = std::min<int64_t>(tile_rows, s.m - row);
      multiply_rows<decltype(vectors)::value>({s.k, depth_step, width}, {rows, row_step, width},
                                              a + row * row_step, packed, sums);
      write_columns(s, sums, rows, width, columns, c + row * s.n + column);
    }
  });
}

void multiply(const MatmulShape& s, const float* a, const float* b, float* c) {
  const auto transpose = [](bool yes) { return yes ? 'T' : 'N'; };
  const auto beta = static_cast<float>(s.beta);
  if (s.m == 0 || s.n == 0) return;
  if (s.k == 0) {  // a sum of nothing, which oneDNN refuses
    std::transform(c, c + s.m * s.n, c, [=](float value) { return beta == 0 ? 0.0F : beta * value; });
    return;
  }
  if (is_small(s)) return multiply_small(s, a, b, c);
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
