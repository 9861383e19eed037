// The gradient of the filters by Winograd's minimal filtering: see convolution_winograd.cpp. Floor: 4.5
// (stride 2: 10.125) · outputs of a channel · channels in · channels out flops at the machine's rate.
#include <omp.h>

#include "kernels/cpu/convolution_winograd.h"
#include "kernels/cpu/winograd_blocks.h"
#include "kernels/cpu/winograd_stride_two.h"
#include "kernels/cpu/winograd_unit_stride.h"

namespace dw::cpu_backend {
namespace {

/// A stretch of channels.
struct Channels {
  int64_t first, count;
};

/// sum[filter_points²][rows][columns] = leftᵀ · right for some channels of both, added to what it was if
/// `accumulate`.
template <int side>
void multiply_channels(const Transformed& left, Channels rows, const Transformed& right, Channels columns,
                       int64_t tiles, float* sum, bool accumulate) {
  for (int64_t filter = 0; filter < filter_points * filter_points;
       ++filter, sum += rows.count * columns.count) {
    const FilterUse use = FilterUse::of(filter, side);
    for_each_panel(columns.count, [&](int64_t column, auto vectors) {
      for (int64_t row = 0; row < use.rows; ++row) {
        const int64_t point = (use.row + row) * side + use.column;
        multiply_rows<decltype(vectors)::value>(
            {use.columns, left.point_stride, right.point_stride},
            {tiles, left.tile_stride, right.tile_stride}, {rows.count, 1, columns.count},
            left.at(point, 0) + rows.first, right.at(point, 0) + columns.first + column, sum + column,
            accumulate || row > 0);
      }
    });
  }
}

/// What the gradient of filters is made of: the inputs and the gradients of the outputs, in tiles.
template <typename Stride>
struct FilterGradient {
  Images<const float> in, out;
  Tiling tiling;
  float* weight_gradient;

  /// Writes the taps of a vector of input channels, `sum(filter)` being what their products add up to.
  template <typename Sum>
  void write(int64_t output, int64_t input, const Sum& sum) const {
    transform<typename Stride::FilterGradient>(sum, [&](int tap, const Vector& value) {
      store(value, weight_gradient + (output * taps + tap) * in.channels + input);
    });
  }
};

/// Stretches of tiles are summed apart, then in order: enough of them for many threads, as memory allows.
template <typename Stride>
void sum_by_tiles(const FilterGradient<Stride>& g) {
  constexpr int side = Stride::Input::to, points = side * side, filters = filter_points * filter_points;
  constexpr int64_t most_columns = 64;
  const int64_t inputs = g.in.channels, outputs = g.out.channels, blocks = g.tiling.blocks;
  const int64_t in_stride = Transformed::stride(g.tiling.block_tiles(), inputs);
  const int64_t out_stride = Transformed::stride(g.tiling.block_tiles(), outputs);
  const int64_t beside = std::max(inputs, outputs);
  const int64_t per_thread = points * (in_stride + out_stride) + beside + filters * most_columns;
  const int64_t count = filters * inputs * outputs;
  const int64_t parts = std::min(blocks, std::clamp<int64_t>((1 << 20) / count, 4, 32));
  const Buffer sums = float_buffer(parts * count);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel
  {
    float* zeros = floats(scratch) + per_thread * omp_get_thread_num();
    std::fill_n(zeros, beside, 0.0F);
    const Transformed left{zeros + beside, outputs, out_stride};
    const Transformed right{left.data + points * out_stride, inputs, in_stride};
    float* totals = right.data + points * in_stride;
#pragma omp for schedule(static)
    for (int64_t part = 0; part < parts; ++part) {
      float* sum = floats(sums) + part * count;
      const int64_t begin = part * blocks / parts, end = (part + 1) * blocks / parts;
      for (int64_t block = begin; block < end; ++block) {
        const TileRange range{g.tiling, g.tiling.first_tile(block), g.tiling.first_tile(block + 1)};
        transform_windows<typename Stride::Input>(range, g.in, zeros, right);
        transform_windows<typename Stride::OutputGradient>(range, g.out, zeros, left);
        multiply_channels<side>(left, {0, outputs}, right, {0, inputs}, range.count(), sum, block > begin);
      }
    }
#pragma omp for collapse(2) nowait
    for (int64_t output = 0; output < outputs; ++output)
      for (int64_t first = 0; first < inputs; first += most_columns) {
        // Along rows: what belongs to one input channel falls into one cache set.
        const int64_t columns = std::min(most_columns, inputs - first);
        for (int64_t filter = 0; filter < filters; ++filter) {
          const float* sum = floats(sums) + (filter * outputs + output) * inputs + first;
          float* total = totals + filter * most_columns;
          for (int64_t column = 0; column < columns; column += lanes) {
            Vector value = load(sum + column);
            for (int64_t part = 1; part < parts; ++part) value += load(sum + part * count + column);
            store(value, total + column);
          }
        }
        for (int64_t column = 0; column < columns; column += lanes)
          g.write(output, first + column,
                  [&](int filter) { return load(totals + filter * most_columns + column); });
      }
  }
}

/// All tiles are transformed first, then summed at once for a block of filters that fits the caches.
template <typename Stride>
void sum_by_channels(const FilterGradient<Stride>& g) {
  constexpr int side = Stride::Input::to, points = side * side, filters = filter_points * filter_points;
  constexpr int64_t most_rows = 32, most_columns = 128;
  const int64_t inputs = g.in.channels, outputs = g.out.channels, tiles = g.tiling.tiles;
  const int64_t in_tile = inputs + Transformed::cache_line, in_stride = Transformed::stride(tiles, in_tile);
  const int64_t out_tile = outputs + Transformed::cache_line;
  const int64_t out_stride = Transformed::stride(tiles, out_tile), beside = std::max(inputs, outputs);
  const Buffer transformed = float_buffer(points * (in_stride + out_stride) + beside);
  const int64_t per_thread = filters * most_rows * most_columns;
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
  float* zeros = floats(transformed);
  std::fill_n(zeros, beside, 0.0F);
  const Transformed left{zeros + beside, outputs, out_stride, out_tile};
  const Transformed right{left.data + points * out_stride, inputs, in_stride, in_tile};
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t block = 0; block < g.tiling.blocks; ++block) {
      const TileRange range{g.tiling, g.tiling.first_tile(block), g.tiling.first_tile(block + 1)};
      transform_windows<typename Stride::Input>(range, g.in, zeros, right.from(range.first));
      transform_windows<typename Stride::OutputGradient>(range, g.out, zeros, left.from(range.first));
    }
    float* sums = floats(scratch) + per_thread * omp_get_thread_num();
#pragma omp for collapse(2) schedule(static) nowait
    for (int64_t output = 0; output < outputs; output += most_rows)
      for (int64_t input = 0; input < inputs; input += most_columns) {
        const int64_t rows = std::min(most_rows, outputs - output);
        const int64_t columns = std::min(most_columns, inputs - input);
        multiply_channels<side>(left, {output, rows}, right, {input, columns}, tiles, sums, false);
        for (int64_t row = 0; row < rows; ++row)
          for (int64_t column = 0; column < columns; column += lanes)
            g.write(output + row, input + column,
                    [&](int filter) { return load(sums + (filter * rows + row) * columns + column); });
      }
  }
}

template <typename Stride>
void backward_weight(const ConvShape& s, const float* in, const float* out_gradient, float* weight_gradient) {
  constexpr int64_t tile = Stride::Output::to, side = Stride::Input::to;
  constexpr int64_t many_threads = 8;  // whatever there are: blocks are summed
  const Tiling tiling(s.batch, s.out_height(), s.out_width(), tile,
                      side * side * (s.in_channels + s.out_channels), many_threads);
  const FilterGradient<Stride> gradient{
      {in, s.in_height, s.in_width, s.in_channels, tile * s.stride, s.padding},
      {out_gradient, s.out_height(), s.out_width(), s.out_channels, tile},
      tiling,
      weight_gradient};
  // Where filters are many for the tiles there are, sums of stretches would take more memory than tiles do.
  const bool few_tiles = side * side * tiling.tiles * (s.in_channels + s.out_channels) <=
                         4 * filter_points * filter_points * s.in_channels * s.out_channels;
  (few_tiles ? sum_by_channels<Stride> : sum_by_tiles<Stride>)(gradient);
}

}  // namespace

void winograd_backward_weight(const ConvShape& s, const float* in, const float* out_gradient,
                              float* weight_gradient) {
  (s.stride == 1 ? backward_weight<UnitStride> : backward_weight<StrideTwo>)(s, in, out_gradient,
                                                                             weight_gradient);
}

}  // namespace dw::cpu_backend
