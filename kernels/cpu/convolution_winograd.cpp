// 3x3 convolution of stride 1 in single precision by Winograd's minimal filtering, for all three passes: a
// quarter of the products of the definition, at about twice its rounding error. Tiles are transformed,
// multiplied and transformed back in blocks that stay in the caches. Floor: 4.5 · pixels · channels in ·
// channels out flops a pass at the machine's rate, and few channels: input and output once at its bandwidth.
// Blocks depend on the shape alone and are summed in order, so the thread count changes no bit.
#include "kernels/cpu/convolution_winograd.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "kernels/cpu/matrix_tile.h"
#include "kernels/cpu/winograd_tile.h"
#include "kernels/device.h"

namespace dw::cpu_backend {
namespace {

using Tile = WinogradTile;
constexpr int points = Tile::inputs * Tile::inputs;  ///< products per tile and pair of channels
constexpr int taps = Tile::taps * Tile::taps;
constexpr int64_t serial_products = 1 << 18;  ///< below this, waking threads costs more than it saves

struct TilePosition {
  int64_t image, y, x;  ///< of its first output
};

/// How the outputs of a batch are cut into tiles, and the tiles into blocks.
struct Tiling {
  int64_t down, across, tiles, blocks;

  Tiling(int64_t batch, int64_t out_height, int64_t out_width, int64_t in_channels, int64_t out_channels)
      : down((out_height + Tile::outputs - 1) / Tile::outputs),
        across((out_width + Tile::outputs - 1) / Tile::outputs),
        tiles(batch * down * across) {
    // Small enough for the caches, and enough of equal size for many threads.
    const int64_t fitting = (1 << 20) / (points * 4 * (in_channels + out_channels));
    blocks = std::min(tiles, (tiles / std::clamp<int64_t>(fitting, 48, 96) / 8 + 1) * 8);
  }

  TilePosition position(int64_t tile) const {
    const int64_t within = tile % (down * across);
    return {tile / (down * across), within / across * Tile::outputs, within % across * Tile::outputs};
  }
  int64_t first_tile(int64_t block) const { return block * tiles / blocks; }
  /// Tiles of the largest block.
  int64_t block_tiles() const { return (tiles + blocks - 1) / blocks; }
};

/// A batch of images that tiles read from or write to. The window of a tile begins `offset` before its first
/// output in both directions.
template <typename Float>
struct Images {
  Float* data;
  int64_t height, width, channels, offset;

  /// Where the channels of each pixel of a tile's window are; `outside` stands for those beyond the image.
  template <int size>
  std::array<Float*, size * size> window(const TilePosition& tile, Float* outside) const {
    const int64_t y = tile.y - offset, x = tile.x - offset;
    Float* image = data + tile.image * height * width * channels;
    std::array<Float*, size * size> pixels;
    pixels.fill(outside);
    const int64_t first_row = std::max<int64_t>(0, -y), last_row = std::min<int64_t>(size, height - y);
    const int64_t first_column = std::max<int64_t>(0, -x), last_column = std::min<int64_t>(size, width - x);
    for (int64_t row = first_row; row < last_row; ++row) {
      Float* pixel = image + ((y + row) * width + x + first_column) * channels;
      for (int64_t column = first_column; column < last_column; ++column, pixel += channels)
        pixels[static_cast<size_t>(row * size + column)] = pixel;
    }
    return pixels;
  }

  /// Reads a float of every cache line between the windows of two tiles. In order, the machine fetches them
  /// ahead; the windows themselves jump about too much.
  void fetch(const TilePosition& first, const TilePosition& last) const {
    const auto row = [&](const TilePosition& tile, int64_t shift) {
      return tile.image * height + std::clamp<int64_t>(tile.y - offset + shift, 0, height);
    };
    const Float* end = data + row(last, Tile::inputs) * width * channels;
    for (const Float* at = data + row(first, 0) * width * channels; at < end; at += 64 / sizeof(float))
      static_cast<void>(*static_cast<const volatile float*>(at));
  }
};

/// A block of transformed tiles: [points][tiles][channels]. A point's matrix takes one cache line more than
/// it needs, so that the same channel of all points does not fall into one cache set.
struct Transformed {
  float* data;
  int64_t channels, point_stride;

  float* at(int64_t point, int64_t tile) const { return data + point * point_stride + tile * channels; }
  /// The same from a tile on.
  Transformed from(int64_t tile) const { return {at(0, tile), channels, point_stride}; }
  static int64_t stride(int64_t tiles, int64_t channels) { return tiles * channels + 16; }
};

/// Tiles [first, end) of a tiling.
struct TileRange {
  const Tiling& tiling;
  int64_t first, end;

  int64_t count() const { return end - first; }
  template <typename Float>
  void fetch(const Images<Float>& images) const {
    images.fetch(tiling.position(first), tiling.position(end - 1));
  }
};

/// Transforms the windows [size, size] of a range of tiles to the rows of `block`.
template <typename OneDimension, int size>
void transform_windows(const TileRange& range, const Images<const float>& images, const float* zeros,
                       const Transformed& block) {
  range.fetch(images);
  for (int64_t tile = 0; tile < range.count(); ++tile) {
    const auto pixels = images.template window<size>(range.tiling.position(range.first + tile), zeros);
    for (int64_t channel = 0; channel < block.channels; channel += lanes) {
      float* to = block.at(0, tile) + channel;
      transform<OneDimension, size, Tile::inputs>(
          [&](int i) { return load(pixels[static_cast<size_t>(i)] + channel); },
          [&](int, const Vector& value) {
            store(value, to);
            to += block.point_stride;
          });
    }
  }
}

/// Transforms the rows of `block` to the outputs of a range of tiles; those beyond the image go to `unused`.
void transform_outputs(const TileRange& range, const Transformed& block, const Images<float>& images,
                       float* unused) {
  range.fetch(images);
  for (int64_t tile = 0; tile < range.count(); ++tile) {
    const auto pixels = images.window<Tile::outputs>(range.tiling.position(range.first + tile), unused);
    for (int64_t channel = 0; channel < block.channels; channel += lanes) {
      const float* from = block.at(0, tile) + channel;
      transform<OutputTransform, Tile::inputs, Tile::outputs>(
          [&](int) {
            const Vector value = load(from);
            from += block.point_stride;
            return value;
          },
          [&](int i, const Vector& value) { store(value, pixels[static_cast<size_t>(i)] + channel); });
    }
  }
}

/// Columns of a product that are held in registers, in vectors: 2 where they divide the channels.
int vectors_of(int64_t channels) {
  return channels % (2 * lanes) == 0 ? 2 : 1;
}

/// out = in · filters, those as in FilterLayout.
template <int vectors>
void multiply_filters(const Transformed& in, const float* filters, int64_t point_stride, int64_t tiles,
                      const Transformed& out) {
  constexpr int panel = vectors * lanes;
  for (int point = 0; point < points; ++point)
    for (int64_t channel = 0; channel < out.channels; channel += panel)
      multiply_rows<vectors>({in.channels, 1, panel}, {tiles, in.channels, out.channels}, in.at(point, 0),
                             filters + point * point_stride + channel * in.channels,
                             out.at(point, 0) + channel);
}

/// sum[points][left channels][right channels] = leftᵀ · right, added to what it was if `accumulate`.
template <int vectors>
void multiply_channels(const Transformed& left, const Transformed& right, int64_t tiles, float* sum,
                       bool accumulate) {
  for (int point = 0; point < points; ++point)
    for (int64_t column = 0; column < right.channels; column += vectors * lanes)
      multiply_rows<vectors>({tiles, left.channels, right.channels}, {left.channels, 1, right.channels},
                             left.at(point, 0), right.at(point, 0) + column,
                             sum + point * left.channels * right.channels + column, accumulate);
}

/// Where the transformed filters of a pair of numbers of channels lie: [points], each padded as those of
/// tiles are, of [panels of output channels][input channels][panel].
struct FilterLayout {
  int64_t in_channels, out_channels;
  int64_t panel = vectors_of(out_channels) * lanes;
  int64_t point_stride = Transformed::stride(in_channels, out_channels);
};

/// Transforms filters for multiply_filters. `read(input, output, tap, rows)` fills rows [input channels],
/// lanes of output channels, of what belongs to a tap, from the channels given on.
template <typename Read>
void transform_filters(const FilterLayout& layout, const Read& read, float* filters) {
#pragma omp for collapse(2)
  for (int64_t first = 0; first < layout.out_channels; first += layout.panel)
    for (int64_t input = 0; input < layout.in_channels; input += lanes)
      for (int64_t beside = 0; beside < layout.panel; beside += lanes) {
        Vector values[taps][lanes];
        for (int tap = 0; tap < taps; ++tap) read(input, first + beside, tap, values[tap]);
        for (int row = 0; row < lanes; ++row) {
          float* to = filters + first * layout.in_channels + (input + row) * layout.panel + beside;
          transform<FilterTransform, Tile::taps, Tile::inputs>(
              [&](int tap) { return values[tap][row]; },
              [&](int point, const Vector& value) { store(value, to + point * layout.point_stride); });
        }
      }
}

float* floats(const Buffer& buffer) {
  return static_cast<float*>(buffer.data());
}

Buffer float_buffer(int64_t count) {
  return {cpu, static_cast<size_t>(count) * sizeof(float)};
}

template <typename Read>
void convolve(int64_t batch, const Images<const float>& in, const Read& read, const Images<float>& out) {
  const Tiling tiling(batch, out.height, out.width, in.channels, out.channels);
  const int64_t in_stride = Transformed::stride(tiling.block_tiles(), in.channels);
  const int64_t out_stride = Transformed::stride(tiling.block_tiles(), out.channels);
  const int64_t per_thread = points * (in_stride + out_stride) + in.channels + out.channels;
  const FilterLayout layout{in.channels, out.channels};
  const Buffer filters = float_buffer(points * layout.point_stride);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
  const bool serial = tiling.tiles * points * in.channels * out.channels <= serial_products;
#pragma omp parallel if (!serial)
  {
    transform_filters(layout, read, floats(filters));
    float* zeros = floats(scratch) + per_thread * omp_get_thread_num();
    std::fill_n(zeros, per_thread, 0.0F);
    float* unused = zeros + in.channels;
    const Transformed inputs{unused + out.channels, in.channels, in_stride};
    const Transformed products{inputs.data + points * in_stride, out.channels, out_stride};
#pragma omp for schedule(static) nowait
    for (int64_t block = 0; block < tiling.blocks; ++block) {
      const TileRange range{tiling, tiling.first_tile(block), tiling.first_tile(block + 1)};
      transform_windows<InputTransform, Tile::inputs>(range, in, zeros, inputs);
      const auto multiply_all = vectors_of(out.channels) == 2 ? multiply_filters<2> : multiply_filters<1>;
      multiply_all(inputs, floats(filters), layout.point_stride, range.count(), products);
      transform_outputs(range, products, out, unused);
    }
  }
}

/// What the gradient of filters is made of: the inputs and the gradients of the outputs, in tiles.
struct FilterGradient {
  Images<const float> in, out;
  Tiling tiling;
  float* weight_gradient;

  /// Writes the taps of a vector of input channels, `sum(point)` being what their products add up to.
  template <typename Sum>
  void write(int64_t output, int64_t input, const Sum& sum) const {
    transform<FilterGradientTransform, Tile::inputs, Tile::taps>(sum, [&](int tap, const Vector& value) {
      store(value, weight_gradient + (output * taps + tap) * in.channels + input);
    });
  }
};

/// Stretches of tiles are summed apart, then in order: enough of them for many threads, as memory allows.
void sum_by_tiles(const FilterGradient& g) {
  const int64_t inputs = g.in.channels, outputs = g.out.channels, blocks = g.tiling.blocks;
  const int64_t in_stride = Transformed::stride(g.tiling.block_tiles(), inputs);
  const int64_t out_stride = Transformed::stride(g.tiling.block_tiles(), outputs);
  const int64_t beside = std::max(inputs, outputs);
  const int64_t per_thread = points * (in_stride + out_stride) + beside;
  const int64_t count = points * inputs * outputs;
  const int64_t parts = std::min(blocks, std::clamp<int64_t>((1 << 20) / count, 4, 32));
  const Buffer sums = float_buffer(parts * count);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel
  {
    float* zeros = floats(scratch) + per_thread * omp_get_thread_num();
    std::fill_n(zeros, beside, 0.0F);
    const Transformed left{zeros + beside, outputs, out_stride};
    const Transformed right{left.data + points * out_stride, inputs, in_stride};
    const auto multiply_all = vectors_of(inputs) == 2 ? multiply_channels<2> : multiply_channels<1>;
#pragma omp for schedule(static)
    for (int64_t part = 0; part < parts; ++part) {
      float* sum = floats(sums) + part * count;
      const int64_t begin = part * blocks / parts, end = (part + 1) * blocks / parts;
      for (int64_t block = begin; block < end; ++block) {
        const TileRange range{g.tiling, g.tiling.first_tile(block), g.tiling.first_tile(block + 1)};
        transform_windows<InputTransform, Tile::inputs>(range, g.in, zeros, right);
        transform_windows<OutputGradientTransform, Tile::outputs>(range, g.out, zeros, left);
        multiply_all(left, right, range.count(), sum, block > begin);
      }
    }
#pragma omp for collapse(2) nowait
    for (int64_t output = 0; output < outputs; ++output)
      for (int64_t input = 0; input < inputs; input += lanes)
        g.write(output, input, [&](int point) {
          const float* sum = floats(sums) + (point * outputs + output) * inputs + input;
          Vector total = load(sum);
          for (int64_t part = 1; part < parts; ++part) total += load(sum + part * count);
          return total;
        });
  }
}

/// All tiles are transformed first, then summed at once for a block of filters that fits the caches.
void sum_by_channels(const FilterGradient& g) {
  constexpr int64_t most_rows = 32, most_columns = 128;
  const int64_t inputs = g.in.channels, outputs = g.out.channels, tiles = g.tiling.tiles;
  const int64_t in_stride = Transformed::stride(tiles, inputs), beside = std::max(inputs, outputs);
  const int64_t out_stride = Transformed::stride(tiles, outputs);
  const Buffer transformed = float_buffer(points * (in_stride + out_stride) + beside);
  const int64_t per_thread = points * most_rows * most_columns;
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
  float* zeros = floats(transformed);
  std::fill_n(zeros, beside, 0.0F);
  const Transformed left{zeros + beside, outputs, out_stride};
  const Transformed right{left.data + points * out_stride, inputs, in_stride};
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t block = 0; block < g.tiling.blocks; ++block) {
      const TileRange range{g.tiling, g.tiling.first_tile(block), g.tiling.first_tile(block + 1)};
      transform_windows<InputTransform, Tile::inputs>(range, g.in, zeros, right.from(range.first));
      transform_windows<OutputGradientTransform, Tile::outputs>(range, g.out, zeros, left.from(range.first));
    }
    float* sums = floats(scratch) + per_thread * omp_get_thread_num();
#pragma omp for collapse(2) schedule(static) nowait
    for (int64_t output = 0; output < outputs; output += most_rows)
      for (int64_t input = 0; input < inputs; input += most_columns) {
        const int64_t rows = std::min(most_rows, outputs - output);
        const int64_t columns = std::min(most_columns, inputs - input);
        for (int point = 0; point < points; ++point)
          for_each_panel(columns, [&](int64_t column, auto vectors) {
            multiply_rows<decltype(vectors)::value>(
                {tiles, outputs, inputs}, {rows, 1, columns}, left.at(point, 0) + output,
                right.at(point, 0) + input + column, sums + point * rows * columns + column);
          });
        for (int64_t row = 0; row < rows; ++row)
          for (int64_t column = 0; column < columns; column += lanes)
            g.write(output + row, input + column,
                    [&](int point) { return load(sums + (point * rows + row) * columns + column); });
      }
  }
}

}  // namespace

bool winograd_fits(const ConvShape& s) {
  // With fewer positions than these, transforming the filters costs more than it saves.
  constexpr int64_t some_positions = 256, many_positions = 512, few_filters = 1 << 14;
  const int64_t positions = s.batch * s.out_height() * s.out_width();
  const bool worth_it = positions >= many_positions ||
                        (positions >= some_positions && s.in_channels * s.out_channels <= few_filters);
  return s.dtype == DType::f32 && s.kernel_height == 3 && s.kernel_width == 3 && s.stride == 1 &&
         s.dilation == 1 && s.groups == 1 && s.padding <= 2 && s.in_channels % 16 == 0 &&
         s.out_channels % 16 == 0 && worth_it;
}

void winograd_forward(const ConvShape& s, const float* in, const float* weight, float* out) {
  convolve(s.batch, {in, s.in_height, s.in_width, s.in_channels, s.padding},
           [&](int64_t input, int64_t output, int tap, Vector(&rows)[lanes]) {
             for (int lane = 0; lane < lanes; ++lane)
               rows[lane] = load(weight + ((output + lane) * taps + tap) * s.in_channels + input);
             transpose(rows);
           },
           {out, s.out_height(), s.out_width(), s.out_channels, 0});
}

void winograd_backward_data(const ConvShape& s, const float* out_gradient, const float* weight,
                            float* in_gradient) {
  // A convolution of the gradients with the filters turned by 180 degrees, their channels exchanged.
  convolve(s.batch, {out_gradient, s.out_height(), s.out_width(), s.out_channels, 2 - s.padding},
           [&](int64_t output, int64_t input, int tap, Vector(&rows)[lanes]) {
             for (int row = 0; row < lanes; ++row)
               rows[row] = load(weight + ((output + row) * taps + taps - 1 - tap) * s.in_channels + input);
           },
           {in_gradient, s.in_height, s.in_width, s.in_channels, 0});
}

void winograd_backward_weight(const ConvShape& s, const float* in, const float* out_gradient,
                              float* weight_gradient) {
  const FilterGradient gradient{{in, s.in_height, s.in_width, s.in_channels, s.padding},
                                {out_gradient, s.out_height(), s.out_width(), s.out_channels, 0},
                                Tiling(s.batch, s.out_height(), s.out_width(), s.in_channels, s.out_channels),
                                weight_gradient};
  // Where filters are many for the tiles there are, sums of stretches would take more memory than tiles do.
  const bool few_tiles =
      gradient.tiling.tiles * (s.in_channels + s.out_channels) <= 4 * s.in_channels * s.out_channels;
  (few_tiles ? sum_by_channels : sum_by_tiles)(gradient);
}

}  // namespace dw::cpu_backend
