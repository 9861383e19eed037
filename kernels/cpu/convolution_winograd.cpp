// 3x3 convolution of stride 1 in single precision by Winograd's minimal filtering, for all three passes: a
// quarter of the products of the definition, at a rounding error a few times larger. Blocks of tiles are
// transformed, multiplied and transformed back while they are in the second-level cache.
// Blocks depend on the shape alone and are summed in order, so the thread count changes no bit.
#include "kernels/cpu/convolution_winograd.h"

#include <omp.h>

#include <algorithm>
#include <array>

#include "kernels/cpu/winograd_tile.h"
#include "kernels/device.h"

namespace dw::cpu_backend {
namespace {

using Tile = WinogradTile;
constexpr int points = Tile::inputs * Tile::inputs;  ///< products per tile and pair of channels
constexpr int taps = Tile::taps * Tile::taps;
constexpr int tile_rows = lanes == 16 ? 12 : 6;    ///< tiles per register block of the forward product
constexpr int channel_rows = lanes == 16 ? 8 : 4;  ///< channels per register block of the weights' product

/// Images of a pass: what is read is `in`, what is written is `out`.
struct Images {
  int64_t batch, in_height, in_width, in_channels, out_height, out_width, out_channels, padding;

  int64_t tiles_down() const { return (out_height + Tile::outputs - 1) / Tile::outputs; }
  int64_t tiles_across() const { return (out_width + Tile::outputs - 1) / Tile::outputs; }
  int64_t tiles() const { return batch * tiles_down() * tiles_across(); }

  /// Tiles that are transformed together, in a block that stays in the second-level cache.
  int64_t block_tiles() const {
    const int64_t fitting = 320 * 1024 / (points * 4 * (in_channels + out_channels));
    return std::clamp<int64_t>(fitting / tile_rows, 4, 32) * tile_rows;
  }
  int64_t blocks() const { return (tiles() + block_tiles() - 1) / block_tiles(); }
};

Images images_of(const ConvShape& s) {
  return {s.batch,        s.in_height,   s.in_width,     s.in_channels,
          s.out_height(), s.out_width(), s.out_channels, s.padding};
}

/// The channels of the pixels of a square window at (y, x) of an image; `outside` stands for those beyond it.
template <int size, typename Float>
std::array<Float*, size * size> window(Float* image, int64_t height, int64_t width, int64_t channels,
                                       int64_t y, int64_t x, Float* outside) {
  std::array<Float*, size * size> pixels;
  for (int row = 0; row < size; ++row)
    for (int column = 0; column < size; ++column) {
      const int64_t at_y = y + row, at_x = x + column;
      const bool inside = at_y >= 0 && at_y < height && at_x >= 0 && at_x < width;
      pixels[static_cast<size_t>(row * size + column)] =
          inside ? image + (at_y * width + at_x) * channels : outside;
    }
  return pixels;
}

struct TilePosition {
  int64_t image, y, x;  ///< of its first output
};

TilePosition position_of(const Images& images, int64_t tile) {
  const int64_t across = images.tiles_across(), per_image = images.tiles_down() * across;
  const int64_t within = tile % per_image;
  return {tile / per_image, within / across * Tile::outputs, within % across * Tile::outputs};
}

/// A block of transformed tiles: [points][tiles][channels], each point's matrix one cache line beyond a
/// multiple of it, so that the same channel of all points does not fall into one cache set.
struct Transformed {
  float* data;
  int64_t channels, point_stride;

  float* at(int64_t point, int64_t tile) const { return data + point * point_stride + tile * channels; }
  static int64_t stride(int64_t tiles, int64_t channels) { return tiles * channels + 16; }
};

/// Transforms the window of every channel at `pixels` to row `tile` of `block`.
template <int from, typename OneDimension>
void transform_window(OneDimension one_dimension, const std::array<const float*, from * from>& pixels,
                      const Transformed& block, int64_t tile) {
  for (int64_t channel = 0; channel < block.channels; channel += lanes) {
    Vector window[from * from], result[points];
    for (size_t i = 0; i < pixels.size(); ++i) window[i] = load(pixels[i] + channel);
    transform<from, Tile::inputs>(one_dimension, window, result);
    for (int point = 0; point < points; ++point) store(result[point], block.at(point, tile) + channel);
  }
}

void transform_inputs(const Images& images, const float* in, const float* zeros, int64_t first, int64_t count,
                      const Transformed& block) {
  for (int64_t tile = 0; tile < count; ++tile) {
    const TilePosition at = position_of(images, first + tile);
    const auto pixels = window<Tile::inputs>(
        in + at.image * images.in_height * images.in_width * images.in_channels, images.in_height,
        images.in_width, images.in_channels, at.y - images.padding, at.x - images.padding, zeros);
    transform_window<Tile::inputs>(Tile::input, pixels, block, tile);
  }
}

void transform_output_gradients(const Images& images, const float* gradient, const float* zeros,
                                int64_t first, int64_t count, const Transformed& block) {
  for (int64_t tile = 0; tile < count; ++tile) {
    const TilePosition at = position_of(images, first + tile);
    const auto pixels = window<Tile::outputs>(
        gradient + at.image * images.out_height * images.out_width * images.out_channels, images.out_height,
        images.out_width, images.out_channels, at.y, at.x, zeros);
    transform_window<Tile::outputs>(Tile::output_gradient, pixels, block, tile);
  }
}

void transform_outputs(const Images& images, const Transformed& block, int64_t first, int64_t count,
                       float* out, float* unused) {
  for (int64_t tile = 0; tile < count; ++tile) {
    const TilePosition at = position_of(images, first + tile);
    const auto pixels =
        window<Tile::outputs>(out + at.image * images.out_height * images.out_width * images.out_channels,
                              images.out_height, images.out_width, images.out_channels, at.y, at.x, unused);
    for (int64_t channel = 0; channel < block.channels; channel += lanes) {
      Vector products[points], result[Tile::outputs * Tile::outputs];
      for (int point = 0; point < points; ++point) products[point] = load(block.at(point, tile) + channel);
      transform<Tile::inputs, Tile::outputs>(Tile::output, products, result);
      for (size_t i = 0; i < pixels.size(); ++i) store(result[i], pixels[i] + channel);
    }
  }
}

/// C[rows, width] = (accumulate ? C : 0) + Σ_p A[row, p] · B[p, width], all in registers.
template <int rows, int vectors, bool accumulate>
void multiply_block(int64_t depth, const float* a, int64_t a_row, int64_t a_step, const float* b,
                    int64_t b_step, float* c, int64_t c_row) {
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

/// Filters in the transformed domain: [points][panels of output channels][input channels][panel].
template <int vectors>
void multiply_tiles(const Transformed& in, const float* filters, int64_t tiles, const Transformed& out) {
  constexpr int panel = vectors * lanes;
  for (int point = 0; point < points; ++point)
    for (int64_t channel = 0; channel < out.channels; channel += panel) {
      const float* filter = filters + (point * out.channels + channel) * in.channels;
      for (int64_t tile = 0; tile < tiles; tile += tile_rows)
        multiply_block<tile_rows, vectors, false>(in.channels, in.at(point, tile), in.channels, 1, filter,
                                                  panel, out.at(point, tile) + channel, out.channels);
    }
}

/// Output channels that are multiplied together.
int panel_of(int64_t channels) {
  return channels % (2 * lanes) == 0 ? 2 * lanes : lanes;
}

/// Calls tap(in channel, out channel, tap) for the filter's values, and writes them transformed.
template <typename Tap>
void transform_filters(int64_t in_channels, int64_t out_channels, Tap&& tap, float* filters) {
  const int panel = panel_of(out_channels);
#pragma omp for collapse(2)
  for (int64_t input = 0; input < in_channels; ++input)
    for (int64_t output = 0; output < out_channels; output += lanes) {
      Vector filter[taps], result[points];
      for (int i = 0; i < taps; ++i)
        for (int lane = 0; lane < lanes; ++lane) filter[i][lane] = tap(input, output + lane, i);
      transform<Tile::taps, Tile::inputs>(Tile::filter, filter, result);
      float* to = filters + output / panel * panel * in_channels + input * panel + output % panel;
      for (int point = 0; point < points; ++point)
        store(result[point], to + point * in_channels * out_channels);
    }
}

float* floats(const Buffer& buffer) {
  return static_cast<float*>(buffer.data());
}

Buffer float_buffer(int64_t count) {
  return {cpu, static_cast<size_t>(count) * sizeof(float)};
}

template <typename Tap>
void convolve(const Images& images, const float* in, Tap&& tap, float* out) {
  const int64_t tiles = images.block_tiles();
  const int64_t in_stride = Transformed::stride(tiles, images.in_channels);
  const int64_t out_stride = Transformed::stride(tiles, images.out_channels);
  const int64_t beside = std::max(images.in_channels, images.out_channels);
  const int64_t per_thread = points * (in_stride + out_stride) + 2 * beside;
  const Buffer filters = float_buffer(points * images.in_channels * images.out_channels);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel
  {
    transform_filters(images.in_channels, images.out_channels, tap, floats(filters));
    float* own = floats(scratch) + per_thread * omp_get_thread_num();
    std::fill_n(own, per_thread, 0.0F);
    const float* zeros = own;
    float* unused = own + beside;
    const Transformed inputs{own + 2 * beside, images.in_channels, in_stride};
    const Transformed products{inputs.data + points * in_stride, images.out_channels, out_stride};
#pragma omp for schedule(static)
    for (int64_t block = 0; block < images.blocks(); ++block) {
      const int64_t first = block * tiles, count = std::min(tiles, images.tiles() - first);
      transform_inputs(images, in, zeros, first, count, inputs);
      if (panel_of(images.out_channels) == lanes)
        multiply_tiles<1>(inputs, floats(filters), count, products);
      else
        multiply_tiles<2>(inputs, floats(filters), count, products);
      transform_outputs(images, products, first, count, out, unused);
    }
  }
}

}  // namespace

bool winograd_fits(const ConvShape& s) {
  return s.dtype == DType::f32 && s.kernel_height == 3 && s.kernel_width == 3 && s.stride == 1 &&
         s.dilation == 1 && s.groups == 1 && s.padding <= 2 && s.in_channels % 16 == 0 &&
         s.out_channels % 16 == 0 && images_of(s).tiles() >= 32;
}

void winograd_forward(const ConvShape& shape, const float* in, const float* weight, float* out) {
  const int64_t inputs = shape.in_channels;
  convolve(
      images_of(shape), in,
      [=](int64_t input, int64_t output, int tap) { return weight[(output * taps + tap) * inputs + input]; },
      out);
}

void winograd_backward_data(const ConvShape& shape, const float* out_gradient, const float* weight,
                            float* in_gradient) {
  // A convolution of the gradients with the filters turned by 180 degrees, their channels exchanged.
  const int64_t inputs = shape.in_channels;
  const Images images{shape.batch,     shape.out_height(), shape.out_width(), shape.out_channels,
                      shape.in_height, shape.in_width,     shape.in_channels, 2 - shape.padding};
  convolve(
      images, out_gradient,
      [=](int64_t output, int64_t input, int tap) {
        return weight[(output * taps + taps - 1 - tap) * inputs + input];
      },
      in_gradient);
}

void winograd_backward_weight(const ConvShape& shape, const float* in, const float* out_gradient,
                              float* weight_gradient) {
  const Images images = images_of(shape);
  const int64_t inputs = images.in_channels, outputs = images.out_channels, tiles = images.block_tiles();
  const int64_t in_stride = Transformed::stride(tiles, inputs),
                out_stride = Transformed::stride(tiles, outputs);
  const int64_t count = points * inputs * outputs;
  // Blocks are divided into parts that are summed apart: enough for many threads, as memory allows.
  const int64_t parts =
      std::min<int64_t>(images.blocks(), std::clamp<int64_t>((int64_t{16} << 20) / count, 4, 32));
  const int64_t beside = std::max(inputs, outputs);
  const int64_t per_thread = points * (in_stride + out_stride) + beside;
  const Buffer sums = float_buffer(parts * count);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel
  {
    float* own = floats(scratch) + per_thread * omp_get_thread_num();
    std::fill_n(own, beside, 0.0F);
    const Transformed left{own + beside, outputs, out_stride};
    const Transformed right{left.data + points * out_stride, inputs, in_stride};
#pragma omp for schedule(static)
    for (int64_t part = 0; part < parts; ++part) {
      float* sum = floats(sums) + part * count;
      std::fill_n(sum, count, 0.0F);
      const int64_t end = (part + 1) * images.blocks() / parts;
      for (int64_t block = part * images.blocks() / parts; block < end; ++block) {
        const int64_t first = block * tiles, in_block = std::min(tiles, images.tiles() - first);
        transform_inputs(images, in, own, first, in_block, right);
        transform_output_gradients(images, out_gradient, own, first, in_block, left);
        for (int point = 0; point < points; ++point)
          for (int64_t input = 0; input < inputs; input += panel_of(inputs))
            for (int64_t output = 0; output < outputs; output += channel_rows) {
              const auto multiply = panel_of(inputs) == lanes ? multiply_block<channel_rows, 1, true>
                                                              : multiply_block<channel_rows, 2, true>;
              multiply(in_block, left.at(point, 0) + output, 1, outputs, right.at(point, 0) + input, inputs,
                       sum + (point * outputs + output) * inputs + input, inputs);
            }
      }
    }
#pragma omp for collapse(2)
    for (int64_t output = 0; output < outputs; ++output)
      for (int64_t input = 0; input < inputs; input += lanes) {
        Vector total[points], gradient[taps];
        for (int point = 0; point < points; ++point) {
          const float* sum = floats(sums) + (point * outputs + output) * inputs + input;
          total[point] = load(sum);
          for (int64_t part = 1; part < parts; ++part) total[point] += load(sum + part * count);
        }
        transform<Tile::inputs, Tile::taps>(Tile::filter_gradient, total, gradient);
        for (int tap = 0; tap < taps; ++tap)
          store(gradient[tap], weight_gradient + (output * taps + tap) * inputs + input);
      }
  }
}

}  // namespace dw::cpu_backend
