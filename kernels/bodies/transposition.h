// Copies between layouts whose innermost dimensions differ, as between NHWC and NCHW: in tiles of both these
// dimensions, so that every cache line that is read or written is used whole. For the CPU; on CUDA an
// element is a thread's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "kernels/bodies/loop.h"

namespace dw::DEEPWATER_BACKEND {

/// How a copy, operand 0 from operand 1, is cut into tiles.
struct Transposition {
  static constexpr int64_t side = 32;  ///< of a tile, at most

  Loop<2> others;                 ///< without the two dimensions
  int64_t rows = 0, columns = 0;  ///< sizes: of operand 1's innermost dimension, and of operand 0's
  int64_t row_stride = 0;         ///< in operand 0, from a row to the next
  int64_t column_stride = 0;      ///< in operand 1, from a column to the next
  int64_t down = 0, across = 0;   ///< tiles

  /// None where a loop is none, or has too few elements side by side.
  static std::optional<Transposition> of(const Loop<2>& loop) {
    constexpr int64_t least = 4;
    if (loop.rank < 2 || loop.stride[0][0] != 1 || loop.stride[1][0] == 1) return {};
    int row = 1;
    while (row < loop.rank && loop.stride[1][row] != 1) ++row;
    if (row == loop.rank || loop.shape[0] < least || loop.shape[row] < least) return {};
    Transposition t;
    t.rows = loop.shape[row];
    t.columns = loop.shape[0];
    t.row_stride = loop.stride[0][row];
    t.column_stride = loop.stride[1][0];
    t.down = (t.rows + side - 1) / side;
    t.across = (t.columns + side - 1) / side;
    for (int d = 1; d < loop.rank; ++d)
      if (d != row) t.others.append(loop.shape[d], {loop.stride[0][d], loop.stride[1][d]});
    return t;
  }

  int64_t tiles() const { return others.count * down * across; }
  int64_t tile_elements() const { return std::min(rows, side) * std::min(columns, side); }

  /// out = f(in) in one of the tiles.
  template <typename Out, typename In, typename Function>
  void map(int64_t tile, Out* out, const In* in, const Function& f) const {
    int64_t offset[2] = {};
    others.add_offsets(tile / (down * across), offset);
    const int64_t row = tile / across % down * side, column = tile % across * side;
    const int64_t height = std::min(side, rows - row), width = std::min(side, columns - column);
    out += offset[0] + row * row_stride + column;
    in += offset[1] + row + column * column_stride;
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) out[y * row_stride + x] = f(in[x * column_stride + y]);
  }
};

}  // namespace dw::DEEPWATER_BACKEND
