// Loops over strided, broadcast views: dimensions are sorted and merged, so that any common dense layout is
// one long run and a bias is a run per row; a body then sees runs along the innermost dimension.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "kernels/bodies/parallel.h"
#include "kernels/view.h"

namespace dw::DEEPWATER_BACKEND {

/// An iteration space shared by `operands` views. Dimension 0 is the innermost.
template <int operands>
struct Loop {
  int rank = 0;
  int64_t count = 1;
  int64_t shape[max_rank] = {};
  int64_t stride[operands][max_rank] = {};

  /// Adds the element offsets of position `index` in the space.
  HD void add_offsets(int64_t index, int64_t (&offset)[operands]) const {
    // 64-bit division takes a GPU longer than moving an element.
    if (on_cuda && count <= UINT32_MAX)
      add_offsets_by(static_cast<uint32_t>(index), offset);
    else
      add_offsets_by(index, offset);
  }

  /// Appends an outermost dimension.
  void append(int64_t size, const std::array<int64_t, operands>& strides) {
    count *= size;
    if (size == 1) return;
    shape[rank] = size;
    for (size_t k = 0; k < operands; ++k) stride[k][rank] = strides[k];
    ++rank;
  }

  /// Sorts dimensions by stride (that of operand 0 first) and merges those that follow each other in every
  /// operand.
  void simplify() {
    for (int d = 1; d < rank; ++d)
      for (int e = d; e > 0 && before(e, e - 1); --e) swap(e, e - 1);
    int last = 0;
    for (int d = 1; d < rank; ++d) {
      bool follows = true;
      for (int k = 0; k < operands; ++k) follows = follows && stride[k][d] == stride[k][last] * shape[last];
      if (follows) {
        shape[last] *= shape[d];
      } else {
        ++last;
        if (last != d) swap(last, d);
      }
    }
    rank = std::min(rank, last + 1);
  }

 private:
  template <typename Index>
  HD void add_offsets_by(Index index, int64_t (&offset)[operands]) const {
    // Unrolled on CUDA, so that places in the arrays are constants: else every thread would copy them to
    // memory.
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
    for (int d = 0; d < max_rank; ++d) {
      if (d >= rank) break;
      const auto size = static_cast<Index>(shape[d]);
      const Index coordinate = d + 1 < rank ? index % size : index;
      if (d + 1 < rank) index /= size;
      for (int k = 0; k < operands; ++k) offset[k] += static_cast<int64_t>(coordinate) * stride[k][d];
    }
  }
  bool before(int a, int b) const {
    for (int k = 0; k < operands; ++k) {
      const int64_t left = std::abs(stride[k][a]), right = std::abs(stride[k][b]);
      if (left != right) return left < right;
    }
    return false;
  }
  void swap(int a, int b) {
    std::swap(shape[a], shape[b]);
    for (int k = 0; k < operands; ++k) std::swap(stride[k][a], stride[k][b]);
  }
};

/// Stride of `view` in dimension `d` of a space of `rank` dimensions (trailing dimensions align), 0 where it
/// is broadcast. Error where the sizes differ.
inline int64_t broadcast_stride(const View& view, int rank, int d, int64_t size) {
  const int own = d - (rank - view.rank);
  if (own < 0) return 0;
  const auto at = static_cast<size_t>(own);
  if (view.shape[at] == size) return view.stride[at];
  require(view.shape[at] == 1, "kernel operand has size {} in dimension {} where {} (or 1) was expected",
          view.shape[at], own, size);
  return 0;
}

/// The space of `out`, with the other views broadcast to it.
template <typename... Views>
Loop<1 + sizeof...(Views)> make_loop(const View& out, const Views&... in) {
  Loop<1 + sizeof...(Views)> loop;
  ((require(in.rank <= out.rank, "kernel operand has {} dimensions, its output {}", in.rank, out.rank)), ...);
  for (int d = out.rank - 1; d >= 0; --d) {
    const auto at = static_cast<size_t>(d);
    const int64_t size = out.shape[at];
    loop.append(size, {out.stride[at], broadcast_stride(in, out.rank, d, size)...});
  }
  loop.simplify();
  return loop;
}

/// `count` elements along the innermost dimension: element i of operand k is at offset[k] + i · stride[k].
template <int operands>
struct Run {
  int64_t count = 1;
  int64_t offset[operands] = {};
  int64_t stride[operands] = {};
};

/// Elements of one parallel task: a vectorisable stretch on the CPU, one element of a thread on CUDA.
inline constexpr int64_t span_length = on_cuda ? 1 : 4096;

template <int operands, typename Body>
struct RunsOfSpan {
  Loop<operands> loop;
  Body body;

  HD void operator()(int64_t span) const {
    Run<operands> run;
    if constexpr (span_length == 1) {
      loop.add_offsets(span, run.offset);
      for (int k = 0; k < operands; ++k) run.stride[k] = 1;
      body(run);
    } else {
      int64_t left = loop.count - span * span_length;
      if (left > span_length) left = span_length;
      int64_t coordinate[max_rank] = {};
      int64_t index = span * span_length;
      for (int d = 0; d < loop.rank; ++d) {
        coordinate[d] = index % loop.shape[d];
        index /= loop.shape[d];
        for (int k = 0; k < operands; ++k) run.offset[k] += coordinate[d] * loop.stride[k][d];
      }
      for (int k = 0; k < operands; ++k) run.stride[k] = loop.stride[k][0];
      const int64_t row = loop.rank > 0 ? loop.shape[0] : 1;
      while (true) {
        run.count = row - coordinate[0] < left ? row - coordinate[0] : left;
        body(run);
        left -= run.count;
        if (left == 0) return;
        for (int k = 0; k < operands; ++k) run.offset[k] -= coordinate[0] * run.stride[k];
        coordinate[0] = 0;
        for (int d = 1; d < loop.rank; ++d) {
          for (int k = 0; k < operands; ++k) run.offset[k] += loop.stride[k][d];
          if (++coordinate[d] < loop.shape[d]) break;
          for (int k = 0; k < operands; ++k) run.offset[k] -= loop.shape[d] * loop.stride[k][d];
          coordinate[d] = 0;
        }
      }
    }
  }
};

/// Calls body(run) for runs that cover the space once. Results must not depend on how runs are cut.
template <int operands, typename Body>
void for_each_run(Stream stream, const Loop<operands>& loop, const Body& body) {
  const int64_t spans = (loop.count + span_length - 1) / span_length;
  for_each_index(stream, spans, RunsOfSpan<operands, Body>{loop, body}, span_length);
}

}  // namespace dw::DEEPWATER_BACKEND
