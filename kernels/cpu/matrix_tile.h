// The innermost piece of every product of ours: a few rows and one or two vectors of columns of a result, its
// sums held in registers.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/cpu/vector.h"

namespace dw::cpu_backend {

/// Products below which waking threads costs more than it saves.
inline constexpr int64_t serial_products = 1 << 18;

/// Rows of a tile that two vectors of columns leave registers for.
inline constexpr int tile_rows = lanes == 16 ? 12 : 6;

/// A direction that products are summed over: how many, and floats from one to the next in both factors.
struct Depth {
  int64_t count, left, right;
};

/// The rows of a result: how many, and floats from one to the next in the left factor and in the result.
struct Rows {
  int64_t count, left, result;
};

/// result[row, width] = (accumulate ? result : 0) + Σ over both depths of left[row] · right[width], width in
/// vectors, for the first `count` of the rows, a multiple of `size`. Shapes come by reference: a copy, which
/// is read in larger pieces than it was just written in, waits until all earlier results are in the cache.
template <int size, int vectors>
void multiply_tiles(const Depth& outer, const Depth& inner, const Rows& rows, int64_t count,
                    const float* left, const float* right, float* result, bool accumulate) {
  for (int64_t done = 0; done < count; done += size) {
    Vector sum[size][vectors];
#pragma GCC unroll 32
    for (int row = 0; row < size; ++row)
      for (int v = 0; v < vectors; ++v)
        sum[row][v] = accumulate ? load(result + row * rows.result + v * lanes) : Vector{};
    for (int64_t i = 0; i < outer.count; ++i) {
      // A pointer for every eight rows. Were their distance known, the compiler would make one of them, and
      // keep an offset for each row: more than there are registers.
      constexpr int64_t group = 8, groups = (size + group - 1) / group;
      const float* a[groups];
      for (int64_t g = 0; g < groups; ++g) {
        a[g] = left + i * outer.left + g * group * rows.left;
        asm("" : "+r"(a[g]));  // nothing is known of it any more
      }
      const float* b = right + i * outer.right;
      for (int64_t j = 0; j < inner.count; ++j, b += inner.right) {
        Vector factor[vectors];
        for (int v = 0; v < vectors; ++v) factor[v] = load(b + v * lanes);
#pragma GCC unroll 32
        for (int row = 0; row < size; ++row) {
          const float value = a[row / group][row % group * rows.left];
          for (int v = 0; v < vectors; ++v) sum[row][v] += value * factor[v];
        }
        for (int64_t g = 0; g < groups; ++g) a[g] += inner.left;
      }
    }
#pragma GCC unroll 32
    for (int row = 0; row < size; ++row)
      for (int v = 0; v < vectors; ++v) store(sum[row][v], result + row * rows.result + v * lanes);
    left += size * rows.left;
    result += size * rows.result;
  }
}

/// The same for any number of rows, in ascending order, in tiles whose sizes differ by one at most.
template <int vectors>
void multiply_rows(const Depth& outer, const Depth& inner, const Rows& rows, const float* left,
                   const float* right, float* result, bool accumulate = false) {
  constexpr int most = 2 * tile_rows / vectors;
  static constexpr auto of_size = []<int... i>(std::integer_sequence<int, i...>) {
    return std::array{&multiply_tiles<i + 1, vectors>...};
  }
  (std::make_integer_sequence<int, most>{});
  if (rows.count == 0) return;
  const int64_t tiles = (rows.count + most - 1) / most, size = rows.count / tiles;
  const int64_t larger = rows.count % tiles * (size + 1), rest = rows.count - larger;
  if (larger > 0)
    of_size[static_cast<size_t>(size)](outer, inner, rows, larger, left, right, result, accumulate);
  of_size[static_cast<size_t>(size - 1)](outer, inner, rows, rest, left + larger * rows.left, right,
                                         result + larger * rows.result, accumulate);
}

/// The same, summed over one depth.
template <int vectors>
void multiply_rows(const Depth& depth, const Rows& rows, const float* left, const float* right, float* result,
                   bool accumulate = false) {
  multiply_rows<vectors>({1, 0, 0}, depth, rows, left, right, result, accumulate);
}

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Calls body(column, vectors) for panels of one or two vectors of columns, the number as a type.
template <typename Body>
void for_each_panel(int64_t columns, const Body& body) {
  int64_t column = 0;
  for (; column + 2 * lanes <= columns; column += 2 * lanes) body(column, std::integral_constant<int, 2>{});
  for (; column < columns; column += lanes) body(column, std::integral_constant<int, 1>{});
}

}  // namespace dw::cpu_backend
