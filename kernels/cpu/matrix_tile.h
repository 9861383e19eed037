// The innermost piece of every product of ours: a few rows and one or two vectors of columns of a result, its
// sums held in registers.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cpu/vector.h"

namespace dw::cpu_backend {

/// Rows of a tile that two vectors of columns leave registers for.
inline constexpr int tile_rows = lanes == 16 ? 12 : 6;

/// C[rows, width] = (accumulate ? C : 0) + Σ_p A[row, p] · B[p, width], width in vectors.
template <int rows, int vectors, bool accumulate>
[[gnu::always_inline]] inline void multiply_tile(int64_t depth, const float* a, int64_t a_row, int64_t a_step,
                                                 const float* b, int64_t b_step, float* c, int64_t c_row) {
  Vector sum[rows][vectors];
  for (int row = 0; row < rows; ++row)
    for (int v = 0; v < vectors; ++v) sum[row][v] = accumulate ? load(c + row * c_row + v * lanes) : Vector{};
  for (int64_t p = 0; p < depth; ++p) {
    Vector right[vectors];
    for (int v = 0; v < vectors; ++v) right[v] = load(b + p * b_step + v * lanes);
    for (int row = 0; row < rows; ++row) {
      const float left = a[row * a_row + p * a_step];
      for (int v = 0; v < vectors; ++v) sum[row][v] += left * right[v];
    }
  }
  for (int row = 0; row < rows; ++row)
    for (int v = 0; v < vectors; ++v) store(sum[row][v], c + row * c_row + v * lanes);
}

/// The same for any number of rows.
template <int vectors, bool accumulate>
void multiply_rows(int64_t rows, int64_t depth, const float* a, int64_t a_row, int64_t a_step, const float* b,
                   int64_t b_step, float* c, int64_t c_row) {
  int64_t row = 0;
  const auto while_left = [&](auto count) {
    for (; row + count <= rows; row += count)
      multiply_tile<count, vectors, accumulate>(depth, a + row * a_row, a_row, a_step, b, b_step,
                                                c + row * c_row, c_row);
  };
  while_left(std::integral_constant<int, tile_rows>{});
  while_left(std::integral_constant<int, tile_rows / 2>{});
  while_left(std::integral_constant<int, 2>{});
  while_left(std::integral_constant<int, 1>{});
}

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace dw::cpu_backend
