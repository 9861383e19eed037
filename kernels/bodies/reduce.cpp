// Reductions over any subset of dimensions. Chunks of fixed size are reduced in parallel and then joined in
// order, so that a result has the same bits for any number of threads. Sums accumulate in double, integers in
// int64_t. Floor: the bytes of input and output.
//
// Two first passes: where the reduced elements lie side by side a block reduces a stretch of them; where the
// kept ones do (channels-last) each task adds up rows of neighbouring columns.
#include <cmath>
#include <limits>

#include "kernels/block.h"
#include "kernels/bodies/element.h"
#include "kernels/table.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

/// The kept dimensions with (in, out) strides and the reduced ones with their in strides.
struct Plan {
  Loop<2> kept;
  Loop<1> reduced;
  int64_t chunk = 1;   ///< reduced elements per chunk
  int64_t chunks = 0;  ///< per output
  bool along_stretch = false;
};

/// Fixed by the shape alone. At most 1024 chunks per output.
Plan make_plan(const View& in, const View& out) {
  Plan plan;
  require(out.rank <= in.rank, "reduction from {} to {} dimensions", in.rank, out.rank);
  for (int d = in.rank - 1; d >= 0; --d) {
    const auto at = static_cast<size_t>(d);
    const int own = d - (in.rank - out.rank);
    const int64_t size = in.shape[at];
    const int64_t out_size = own < 0 ? 1 : out.shape[static_cast<size_t>(own)];
    require(out_size == size || out_size == 1, "reduction: dimension {} has size {} but the output has {}", d,
            size, out_size);
    if (out_size == size && own >= 0)
      plan.kept.append(size, {in.stride[at], out.stride[static_cast<size_t>(own)]});
    else
      plan.reduced.append(size, {in.stride[at]});
  }
  plan.kept.simplify();
  plan.reduced.simplify();
  const int64_t length = plan.reduced.count;
  const int64_t kept_stride = plan.kept.rank > 0 ? std::abs(plan.kept.stride[0][0]) : INT64_MAX;
  const int64_t reduced_stride = plan.reduced.rank > 0 ? std::abs(plan.reduced.stride[0][0]) : INT64_MAX;
  // A GPU would leave most of itself idle where few outputs had a thread each.
  const bool few_outputs = on_cuda && plan.kept.count <= 1024 && length >= 32;
  plan.along_stretch = (length >= block_lanes || few_outputs) && reduced_stride < kept_stride;
  plan.chunk = std::max<int64_t>(plan.along_stretch ? 8192 : 64, (length + 1023) / 1024);
  plan.chunks = (length + plan.chunk - 1) / plan.chunk;
  return plan;
}

template <typename A>
struct Sum {
  static constexpr A identity = 0;
  HD A operator()(A a, A b) const { return a + b; }
};
/// Either NaN gives a NaN.
template <typename A>
struct Maximum {
  static constexpr A identity = std::numeric_limits<A>::has_infinity ? -std::numeric_limits<A>::infinity()
                                                                     : std::numeric_limits<A>::lowest();
  HD A operator()(A a, A b) const { return ((a > b) | (a != a)) ? a : b; }
};
template <typename A>
struct Minimum {
  static constexpr A identity = std::numeric_limits<A>::has_infinity ? std::numeric_limits<A>::infinity()
                                                                     : std::numeric_limits<A>::max();
  HD A operator()(A a, A b) const { return ((a < b) | (a != a)) ? a : b; }
};

struct And {
  static constexpr int64_t identity = 1;
  HD int64_t operator()(int64_t a, int64_t b) const { return a & b; }
};

/// What is reduced: the element itself, or 1 where it is neither NaN nor infinite.
template <typename A>
struct Element {
  template <typename T>
  HD A operator()(T value) const {
    return static_cast<A>(load(value));
  }
};
struct Finite {
  template <typename T>
  HD int64_t operator()(T value) const {
    const auto x = load(value);
    return x - x == 0 ? 1 : 0;
  }
};

template <typename A>
struct StretchLanes {
  LaneValues<A> lanes;
};

/// Block (chunk, output) of the first pass where reduced elements lie side by side.
template <typename T, typename A, typename Combine, typename Map>
struct StretchBody {
  Plan plan;
  const T* in;
  A* partial;  ///< [chunks, outputs]
  Combine combine;
  Map map;

  HD void operator()(const Block& block, int64_t index, StretchLanes<A>& shared) const {
    int64_t offset[2] = {};
    plan.kept.add_offsets(index % plan.kept.count, offset);
    const T* from = in + offset[0];
    const int64_t begin = index / plan.kept.count * plan.chunk;
    const int64_t left = plan.reduced.count - begin;
    const int64_t count = left < plan.chunk ? left : plan.chunk;
    A result;
    if (plan.reduced.rank == 1 && plan.reduced.stride[0][0] == 1) {
      from += begin;
      result = block.reduce(
          count, Combine::identity, shared.lanes, [&](int64_t i) { return map(from[i]); }, combine);
    } else {
      result = block.reduce(
          count, Combine::identity, shared.lanes,
          [&](int64_t i) {
            int64_t at[1] = {};
            plan.reduced.add_offsets(begin + i, at);
            return map(from[at[0]]);
          },
          combine);
    }
    block.each(1, [&](int64_t) { partial[index] = result; });
  }
};

/// Columns that one task of the first pass adds up.
inline constexpr int64_t column_width = on_cuda ? 1 : 128;

/// Task (chunk, block of columns) of the first pass where kept elements lie side by side.
template <typename T, typename A, typename Combine, typename Map>
struct ColumnsBody {
  Plan plan;
  const T* in;
  A* partial;  ///< [chunks, outputs]
  Combine combine;
  Map map;
  int64_t row;             ///< kept elements side by side
  int64_t blocks_per_row;  ///< of column_width
  int64_t blocks;

  HD void operator()(int64_t index) const {
    if constexpr (column_width == 1)
      add_column(index);
    else
      add_columns(index);
  }

 private:
  // One column a thread: what the next rows hold is under way while one is added.
  HD void add_column(int64_t index) const {
    const int64_t chunk = index / plan.kept.count, output = index % plan.kept.count;
    int64_t offset[2] = {};
    plan.kept.add_offsets(output, offset);
    const T* from = in + offset[0];
    const int64_t begin = chunk * plan.chunk;
    const int64_t end = begin + plan.chunk < plan.reduced.count ? begin + plan.chunk : plan.reduced.count;
    A total = Combine::identity;
    if (plan.reduced.rank <= 1) {
      const int64_t stride = plan.reduced.stride[0][0];
#ifdef __CUDA_ARCH__
#pragma unroll 8
#endif
      for (int64_t r = begin; r < end; ++r) total = combine(total, map(from[r * stride]));
    } else {
      for (int64_t r = begin; r < end; ++r) {
        int64_t at[1] = {};
        plan.reduced.add_offsets(r, at);
        total = combine(total, map(from[at[0]]));
      }
    }
    partial[chunk * plan.kept.count + output] = total;
  }

  HD void add_columns(int64_t index) const {
    const int64_t chunk = index / blocks, block = index % blocks;
    const int64_t column = block % blocks_per_row * column_width;
    const int64_t output = block / blocks_per_row * row + column;
    const int64_t width = row - column < column_width ? row - column : column_width;
    int64_t offset[2] = {};
    plan.kept.add_offsets(output, offset);
    const int64_t stride = plan.kept.rank > 0 ? plan.kept.stride[0][0] : 1;
    A total[column_width];
    const int64_t begin = chunk * plan.chunk;
    const int64_t end = begin + plan.chunk < plan.reduced.count ? begin + plan.chunk : plan.reduced.count;
    // Short rows that follow each other are added several at a time, as one.
    const bool follow = stride == 1 && plan.reduced.rank == 1 && plan.reduced.stride[0][0] == width;
    const int64_t together = follow ? column_width / width : 1, across = together * width;
    for (int64_t c = 0; c < across; ++c) total[c] = Combine::identity;
    int64_t r = begin;
    for (; r + together <= end; r += together) {
      int64_t at[1] = {offset[0]};
      plan.reduced.add_offsets(r, at);
      const T* from = in + at[0];
      if (stride == 1)
        for (int64_t c = 0; c < across; ++c) total[c] = combine(total[c], map(from[c]));
      else
        for (int64_t c = 0; c < width; ++c) total[c] = combine(total[c], map(from[c * stride]));
    }
    for (int64_t c = width; c < across; ++c) total[c % width] = combine(total[c % width], total[c]);
    for (; r < end; ++r)
      for (int64_t c = 0; c < width; ++c) total[c] = combine(total[c], map(in[offset[0] + r * width + c]));
    A* to = partial + chunk * plan.kept.count + output;
    for (int64_t c = 0; c < width; ++c) to[c] = total[c];
  }
};

/// Joins the chunks of an output in order and converts to the output's dtype.
template <typename A, typename Combine>
struct JoinBody {
  Plan plan;
  const A* partial;
  void* out;
  DType out_dtype;
  Combine combine;

  HD void operator()(int64_t output) const {
    A total = Combine::identity;
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk)
      total = combine(total, partial[chunk * plan.kept.count + output]);
    put(output, total);
  }
  /// By a whole block, where there are many chunks.
  HD void operator()(const Block& block, int64_t output, StretchLanes<A>& shared) const {
    const A total = block.reduce(
        plan.chunks, Combine::identity, shared.lanes,
        [&](int64_t chunk) { return partial[chunk * plan.kept.count + output]; }, combine);
    block.each(1, [&](int64_t) { put(output, total); });
  }

 private:
  HD void put(int64_t output, A total) const {
    int64_t offset[2] = {};
    plan.kept.add_offsets(output, offset);
    with_type(out_dtype, [&](auto zero) {
      using Out = decltype(zero);
      static_cast<Out*>(out)[offset[1]] = store<Out>(total);
    });
  }
};

template <typename T, typename A, typename Combine, typename Map>
void reduce_with(Stream stream, const View& in, const View& out) {
  const Plan plan = make_plan(in, out);
  const int64_t outputs = plan.kept.count;
  if (outputs == 0) return;
  const auto* from = static_cast<const T*>(in.data);
  const Buffer scratch(stream.device, static_cast<size_t>(plan.chunks * outputs) * sizeof(A));
  auto* partial = static_cast<A*>(scratch.data());
  if (plan.along_stretch) {
    const bool parallel = plan.reduced.count * outputs > serial_elements;
    for_each_block<StretchLanes<A>>(stream, plan.chunks * outputs,
                                    StretchBody<T, A, Combine, Map>{plan, from, partial, {}, {}}, parallel);
  } else {
    const int64_t row = plan.kept.rank > 0 ? plan.kept.shape[0] : 1;
    const int64_t blocks_per_row = (row + column_width - 1) / column_width;
    const int64_t blocks = outputs / row * blocks_per_row;
    for_each_index(stream, plan.chunks * blocks,
                   ColumnsBody<T, A, Combine, Map>{plan, from, partial, {}, {}, row, blocks_per_row, blocks},
                   std::min(plan.chunk, plan.reduced.count) * std::min(row, column_width));
  }
  const JoinBody<A, Combine> join{plan, partial, out.data, out.dtype, {}};
  constexpr int64_t many_chunks = 32;
  if (on_cuda && plan.chunks > many_chunks)
    for_each_block<StretchLanes<A>>(stream, outputs, join);
  else
    for_each_index(stream, outputs, join, std::max<int64_t>(plan.chunks, 1));
}

void reduce(Stream stream, ReduceOp op, const View& in, const View& out) {
  require(op == ReduceOp::sum || in.numel() > 0 || out.numel() == 0,
          "the maximum or minimum of no elements is undefined");
  dispatch_any(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (op == ReduceOp::sum) {
      using A = std::conditional_t<std::is_integral_v<T>, int64_t, double>;
      return reduce_with<T, A, Sum<A>, Element<A>>(stream, in, out);
    }
    using A = Arithmetic<T>;
    if (op == ReduceOp::maximum) return reduce_with<T, A, Maximum<A>, Element<A>>(stream, in, out);
    return reduce_with<T, A, Minimum<A>, Element<A>>(stream, in, out);
  });
}

void all_finite(Stream stream, const View& in, const View& out) {
  require(out.dtype == DType::u8 && out.numel() == 1, "all_finite expects one u8 output, found {} of {}",
          out.numel(), name_of(out.dtype));
  View scalar = out;
  scalar.rank = 0;
  dispatch_floating(in.dtype, "all_finite", [&](auto zero) {
    using T = decltype(zero);
    reduce_with<T, int64_t, And, Finite>(stream, in, scalar);
  });
}

}  // namespace

void add_reduce(KernelTable& table) {
  table.reduce = reduce;
  table.all_finite = all_finite;
}

}  // namespace dw::DEEPWATER_BACKEND
