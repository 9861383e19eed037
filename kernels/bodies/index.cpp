// Row indexing: arg-max, the score of a batch, gather, and scatter-add in the order of the rows so that sums
// are reproducible. Floor, in bytes: arg-max and score their inputs; gather the output twice and the index;
// scatter-add the input three times and the index.
#include <functional>

#include "kernels/block.h"
#include "kernels/bodies/element.h"
#include "kernels/table.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

/// The first of the largest, a NaN before any number.
template <typename T>
HD int64_t place_of_largest(const T* from, int64_t count, int64_t stride) {
  int64_t best = 0;
  auto most = load(from[0]);
  for (int64_t c = 1; c < count; ++c) {
    const auto value = load(from[c * stride]);
    const bool first_nan = value != value && most == most;
    if (value > most || first_nan) {
      most = value;
      best = c;
    }
  }
  return best;
}

template <typename T>
struct ArgmaxBody {
  const T* in;
  int64_t* out;
  int64_t columns, row_stride, column_stride, out_stride;

  HD void operator()(int64_t row) const {
    out[row * out_stride] = place_of_largest(in + row * row_stride, columns, column_stride);
  }
};

void argmax(Stream stream, const View& in, const View& out) {
  require(in.rank == 2 && out.rank == 1 && out.shape[0] == in.shape[0] && out.dtype == DType::i64,
          "argmax expects [rows, columns] and i64 [rows], found {} and {} dimensions", in.rank, out.rank);
  require(in.shape[1] > 0 || in.shape[0] == 0, "argmax of rows without a column is undefined");
  dispatch_any(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each_index(stream, in.shape[0],
                   ArgmaxBody<T>{static_cast<const T*>(in.data), static_cast<int64_t*>(out.data), in.shape[1],
                                 in.stride[0], in.stride[1], out.stride[0]},
                   in.shape[1]);
  });
}

/// One block: a batch has few rows, and a training step should not be many small launches.
template <typename T>
struct ScoreBody {
  struct Shared {
    LaneValues<int64_t> lanes;
  };
  const void* loss;
  DType loss_dtype;
  const T* logits;
  int64_t rows, columns, row_stride, column_stride;
  const int64_t* labels;
  int64_t label_stride;
  double* sums;
  int64_t sum_stride;

  HD void operator()(const Block& block, int64_t, Shared& shared) const {
    const int64_t right = block.reduce(
        rows, int64_t{0}, shared.lanes,
        [&](int64_t row) {
          const int64_t found = place_of_largest(logits + row * row_stride, columns, column_stride);
          return int64_t{found == labels[row * label_stride]};
        },
        std::plus<>());
    block.each(1, [&](int64_t) {
      double mean = 0;
      with_type(loss_dtype, [&](auto zero) {
        mean = static_cast<double>(load(*static_cast<const decltype(zero)*>(loss)));
      });
      sums[0] += mean * static_cast<double>(rows);
      sums[sum_stride] += static_cast<double>(right);
      sums[2 * sum_stride] += static_cast<double>(rows);
    });
  }
};

void add_score(Stream stream, const View& loss, const View& logits, const View& labels, const View& sums) {
  require(loss.numel() == 1 && is_floating(loss.dtype) && logits.rank == 2 && logits.shape[1] > 0 &&
              labels.rank == 1 && labels.dtype == DType::i64 && labels.shape[0] == logits.shape[0] &&
              sums.rank == 1 && sums.shape[0] == 3 && sums.dtype == DType::f64,
          "a score expects one loss, logits [rows, columns], i64 labels [rows] and f64 sums [3], found {} {} "
          "losses, logits of {} dimensions, {} {} labels and {} {} sums",
          loss.numel(), name_of(loss.dtype), logits.rank, labels.numel(), name_of(labels.dtype), sums.numel(),
          name_of(sums.dtype));
  dispatch_floating(logits.dtype, "score", [&](auto zero) {
    using T = decltype(zero);
    for_each_block<typename ScoreBody<T>::Shared>(
        stream, 1,
        ScoreBody<T>{loss.data, loss.dtype, static_cast<const T*>(logits.data), logits.shape[0],
                     logits.shape[1], logits.stride[0], logits.stride[1],
                     static_cast<const int64_t*>(labels.data), labels.stride[0],
                     static_cast<double*>(sums.data), sums.stride[0]},
        false);
  });
}

/// Rows [count, ...] picked from or added to a table [table_rows, ...], both with the same inner shape.
struct Rows {
  Loop<2> inner;  ///< inner dimensions, strides of (rows, table)
  int64_t count = 0, row_stride = 0;
  int64_t table_rows = 0, table_stride = 0;
  const int64_t* index = nullptr;
  int64_t index_stride = 0;
};

/// Errors: shapes; on the CPU also an index outside the table (CUDA skips such rows: it cannot report them).
Rows make_rows(std::string_view what, const View& rows, const View& table, const View& index) {
  require(rows.rank >= 1 && table.rank == rows.rank && index.rank == 1 && index.dtype == DType::i64 &&
              index.shape[0] == rows.shape[0] && rows.dtype == table.dtype,
          "{} expects rows and table of one rank and dtype and an i64 index per row, found {} rows {}, table "
          "{} {}"
          " and {} indices",
          what, rows.shape[0], name_of(rows.dtype), table.shape[0], name_of(table.dtype), index.shape[0]);
  Rows result;
  for (int d = rows.rank - 1; d > 0; --d) {
    const auto at = static_cast<size_t>(d);
    require(rows.shape[at] == table.shape[at], "{}: dimension {} is {} in the rows and {} in the table", what,
            d, rows.shape[at], table.shape[at]);
    result.inner.append(rows.shape[at], {rows.stride[at], table.stride[at]});
  }
  result.inner.simplify();
  result.count = rows.shape[0];
  result.row_stride = rows.stride[0];
  result.table_rows = table.shape[0];
  result.table_stride = table.stride[0];
  result.index = static_cast<const int64_t*>(index.data);
  result.index_stride = index.stride[0];
  if constexpr (!on_cuda)
    for (int64_t i = 0; i < result.count; ++i) {
      const int64_t row = result.index[i * result.index_stride];
      require(row >= 0 && row < result.table_rows, "{}: index {} is {}, outside the table of {} rows", what,
              i, row, result.table_rows);
    }
  return result;
}

/// Elements of a row that one task moves.
inline constexpr int64_t stretch = on_cuda ? 1 : 4096;

template <typename T, bool add>
struct RowsBody {
  Rows rows;
  T* to;
  const T* from;

  HD void move_row(int64_t i, int64_t stretch_index) const {
    const int64_t row = rows.index[i * rows.index_stride];
    const bool inside = row >= 0 && row < rows.table_rows;
    if (add && !inside) return;
    const int64_t begin = stretch_index * stretch;
    const int64_t end = begin + stretch < rows.inner.count ? begin + stretch : rows.inner.count;
    for (int64_t j = begin; j < end; ++j) {
      int64_t offset[2] = {i * rows.row_stride, inside ? row * rows.table_stride : 0};
      rows.inner.add_offsets(j, offset);
      if constexpr (add)
        to[offset[1]] = store<T>(load(to[offset[1]]) + load(from[offset[0]]));
      else
        to[offset[0]] = inside ? from[offset[1]] : T{};
    }
  }

  HD void operator()(int64_t index) const {
    const int64_t stretches = (rows.inner.count + stretch - 1) / stretch;
    if constexpr (add)
      for (int64_t i = 0; i < rows.count; ++i) move_row(i, index);
    else
      move_row(index / stretches, index % stretches);
  }
};

void gather_rows(Stream stream, const View& in, const View& index, const View& out) {
  const Rows rows = make_rows("gather_rows", out, in, index);
  const int64_t stretches = (rows.inner.count + stretch - 1) / stretch;
  dispatch_any(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each_index(stream, rows.count * stretches,
                   RowsBody<T, false>{rows, static_cast<T*>(out.data), static_cast<const T*>(in.data)},
                   std::min(stretch, std::max<int64_t>(rows.inner.count, 1)));
  });
}

void scatter_add_rows(Stream stream, const View& in, const View& index, const View& out) {
  const Rows rows = make_rows("scatter_add_rows", in, out, index);
  const int64_t stretches = (rows.inner.count + stretch - 1) / stretch;
  dispatch_any(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each_index(
        stream, stretches, RowsBody<T, true>{rows, static_cast<T*>(out.data), static_cast<const T*>(in.data)},
        std::min(stretch, std::max<int64_t>(rows.inner.count, 1)) * std::max<int64_t>(rows.count, 1));
  });
}

}  // namespace

void add_index(KernelTable& table) {
  table.argmax = argmax;
  table.add_score = add_score;
  table.gather_rows = gather_rows;
  table.scatter_add_rows = scatter_add_rows;
}

}  // namespace dw::DEEPWATER_BACKEND
