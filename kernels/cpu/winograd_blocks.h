// What the passes of Winograd's minimal filtering share: how a batch is cut into tiles, and blocks of them
// that are transformed.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/cpu/float_buffer.h"
#include "kernels/cpu/matrix_tile.h"
#include "kernels/cpu/winograd_transform.h"
#include "kernels/table.h"

namespace dw::cpu_backend {

inline constexpr int taps = 9;
/// Of one dimension: both strides have as many different transformed filters.
inline constexpr int64_t filter_points = 6;

/// Whether this is a convolution that the passes can compute.
inline bool winograd_takes(const ConvShape& s) {
  const bool is_unit = s.stride == 1 && s.padding <= 2, is_two = s.stride == 2 && s.padding == 1;
  return s.dtype == DType::f32 && s.kernel_height == 3 && s.kernel_width == 3 && s.dilation == 1 &&
         s.groups == 1 && s.in_channels % 16 == 0 && s.out_channels % 16 == 0 && (is_unit || is_two);
}

/// The products of a tile and a pair of channels that take the same transformed filter: those at
/// [row, row + rows) × [column, column + columns) of a square.
struct FilterUse {
  int64_t row, rows, column, columns;

  /// Of the transformed filter with this index in [filter_points][filter_points], where tiles are transformed
  /// to `side` points in a dimension: the last filter of a dimension takes all that are left.
  static FilterUse of(int64_t filter, int64_t side) {
    constexpr int64_t last = filter_points - 1;
    const int64_t row = filter / filter_points, column = filter % filter_points;
    return {row, row == last ? side - last : 1, column, column == last ? side - last : 1};
  }
};

/// Which tile: in tiles, not pixels.
struct TilePosition {
  int64_t image, row, column;
};

/// How the outputs of a batch are cut into tiles, and the tiles into blocks.
struct Tiling {
  int64_t down, across, tiles, blocks;

  /// `floats` are those of a transformed tile; `threads` get equal numbers of blocks, if there are enough.
  Tiling(int64_t batch, int64_t height, int64_t width, int64_t tile_size, int64_t floats, int64_t threads)
      : down((height + tile_size - 1) / tile_size),
        across((width + tile_size - 1) / tile_size),
        tiles(batch * down * across) {
    // Small enough for the caches, but no less than a product takes.
    const int64_t fitting = (1 << 20) / (4 * floats);
    const int64_t enough = (tiles / std::clamp<int64_t>(fitting, 48, 96) / threads + 1) * threads;
    blocks = std::clamp<int64_t>(tiles / 4, 1, enough);
  }

  TilePosition position(int64_t tile) const {
    const int64_t within = tile % (down * across);
    return {tile / (down * across), within / across, within % across};
  }
  int64_t first_tile(int64_t block) const { return block * tiles / blocks; }
  /// Tiles of the largest block.
  int64_t block_tiles() const { return (tiles + blocks - 1) / blocks; }
};

/// A batch of images that tiles read from or write to. The windows of neighbouring tiles begin `step` pixels
/// apart, that of the first one `offset` before the image, in both directions.
template <typename Float>
struct Images {
  Float* data;
  int64_t height, width, channels, step, offset = 0;
  int64_t first_channel = 0;  ///< of those that are read or written

  /// The same from a channel on.
  Images from(int64_t channel) const { return {data, height, width, channels, step, offset, channel}; }

  /// Where the channels of each pixel of a tile's window are; `outside` stands for those beyond the image.
  template <int64_t size>
  std::array<Float*, size * size> window(const TilePosition& tile, Float* outside) const {
    const int64_t y = tile.row * step - offset, x = tile.column * step - offset;
    Float* image = data + tile.image * height * width * channels;
    std::array<Float*, size * size> pixels;
    pixels.fill(outside);
    const int64_t first_row = std::max<int64_t>(0, -y), last_row = std::min<int64_t>(size, height - y);
    const int64_t first_column = std::max<int64_t>(0, -x), last_column = std::min<int64_t>(size, width - x);
    for (int64_t row = first_row; row < last_row; ++row) {
      Float* pixel = image + ((y + row) * width + x + first_column) * channels + first_channel;
      for (int64_t column = first_column; column < last_column; ++column, pixel += channels)
        pixels[static_cast<size_t>(row * size + column)] = pixel;
    }
    return pixels;
  }

  /// Reads a float of every cache line between the windows, `size` pixels high, of two tiles. In order, the
  /// machine fetches them ahead; the windows themselves jump about too much.
  void fetch(const TilePosition& first, const TilePosition& last, int64_t size) const {
    const auto row = [&](const TilePosition& tile, int64_t shift) {
      return tile.image * height + std::clamp<int64_t>(tile.row * step - offset + shift, 0, height);
    };
    const Float* end = data + row(last, size) * width * channels;
    for (const Float* at = data + row(first, 0) * width * channels; at < end; at += 64 / sizeof(float))
      static_cast<void>(*static_cast<const volatile float*>(at));
  }
};

/// A block of transformed tiles: [points][tiles][channels]. A point's matrix takes one cache line more than
/// it needs, so that the same channel of all points does not fall into one cache set; where products are
/// summed over many tiles, so does a tile.
struct Transformed {
  float* data;
  int64_t channels, point_stride, tile_stride = channels;

  float* at(int64_t point, int64_t tile) const { return data + point * point_stride + tile * tile_stride; }
  /// The same from a tile, or from a channel on.
  Transformed from(int64_t tile) const { return {at(0, tile), channels, point_stride, tile_stride}; }
  Transformed from_channel(int64_t channel) const {
    return {data + channel, channels, point_stride, tile_stride};
  }
  static int64_t stride(int64_t tiles, int64_t channels) { return tiles * channels + cache_line; }

  static constexpr int64_t cache_line = 16;
};

/// Tiles [first, end) of a tiling.
struct TileRange {
  const Tiling& tiling;
  int64_t first, end;

  int64_t count() const { return end - first; }
  template <typename Float>
  void fetch(const Images<Float>& images, int64_t size) const {
    images.fetch(tiling.position(first), tiling.position(end - 1), size);
  }
};

/// Transforms the windows of a range of tiles to the rows of `block`.
template <typename OneDimension>
void transform_windows(const TileRange& range, const Images<const float>& images, const float* zeros,
                       const Transformed& block) {
  constexpr int64_t size = OneDimension::from;
  range.fetch(images, size);
  for (int64_t tile = 0; tile < range.count(); ++tile) {
    const auto pixels = images.template window<size>(range.tiling.position(range.first + tile), zeros);
    for (int64_t channel = 0; channel < block.channels; channel += lanes) {
      float* to = block.at(0, tile) + channel;
      transform<OneDimension>([&](int i) { return load(pixels[static_cast<size_t>(i)] + channel); },
                              [&](int, const Vector& value) {
                                store(value, to);
                                to += block.point_stride;
                              });
    }
  }
}

/// Transforms the rows of `block` to the outputs of a range of tiles; those beyond the image go to `unused`.
template <typename OneDimension>
void transform_outputs(const TileRange& range, const Transformed& block, const Images<float>& images,
                       float* unused) {
  constexpr int64_t size = OneDimension::to;
  if (block.channels == images.channels) range.fetch(images, size);
  for (int64_t tile = 0; tile < range.count(); ++tile) {
    const auto pixels = images.window<size>(range.tiling.position(range.first + tile), unused);
    for (int64_t channel = 0; channel < block.channels; channel += lanes) {
      const float* from = block.at(0, tile) + channel;
      transform<OneDimension>(
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
inline int vectors_of(int64_t channels) {
  return channels % (2 * lanes) == 0 ? 2 : 1;
}

}  // namespace dw::cpu_backend
