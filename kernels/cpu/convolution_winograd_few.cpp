// Forward 3x3 convolution of stride 1 for a handful of tiles, by Winograd's minimal filtering. So few take no
// longer to multiply than filters to transform: nothing is done to these but arithmetic. Lanes are input
// channels, as filters lie in memory; a row of points at a time, or half of one where registers are few, is
// transformed in registers and multiplied there by those points of all tiles, and the sums are added up
// across lanes at the end. Takes 0.6 to 0.85 of the time of a product of patches. Floor: for every vector of
// input channels and output channel 60 operations (84 by halves) and 36 multiply-adds a tile at the machine's
// rate, or the filters once at its bandwidth. What is summed in which order depends on the shape alone, so
// the thread count changes no bit.
#include <omp.h>

#include "kernels/cpu/convolution_winograd.h"
#include "kernels/cpu/winograd_blocks.h"
#include "kernels/cpu/winograd_unit_stride.h"

namespace dw::cpu_backend {
namespace {

constexpr int64_t tile_size = UnitStride::Output::to;
constexpr int64_t side = UnitStride::Input::to;  ///< points of a tile in a dimension
constexpr int64_t most_tiles = 4;
/// Points of a row whose sums of all tiles stay in registers: what a piece has.
constexpr int64_t piece = lanes == 16 ? side : side / 2;
constexpr int64_t pieces = side * side / piece;  ///< of a tile

/// A piece of some tiles, [channels / lanes][points][tiles][lanes], times those points of the transformed
/// filters of an output channel, [taps][channels]. Sums go to [points][tiles][lanes]: each a vector whose
/// lanes remain to be added up.
template <int index, int tiles>
void multiply_piece(const float* windows, int64_t channels, const float* filter, float* sums) {
  constexpr int64_t row = index * piece / side, first = index * piece % side;
  Vector sum[piece * tiles] = {};
  for (int64_t channel = 0; channel < channels; channel += lanes) {
    Vector columns[3], filters[side];
    unrolled<3>([&](auto tap_row) {
      Vector values[3], results[side];
      unrolled<3>([&](auto tap) { values[tap] = load(filter + (tap_row * 3 + tap) * channels); });
      UnitStride::UnweightedFilter::apply(values, results, 1);
      columns[tap_row] = results[row];
    });
    UnitStride::UnweightedFilter::apply(columns, filters, 1);
    unrolled<piece * tiles>(
        [&](auto i) { sum[i] += filters[first + i / tiles] * load(windows + i * lanes); });
    filter += lanes;
    windows += piece * tiles * lanes;
  }
  unrolled<piece * tiles>([&](auto i) { store(sum[i], sums + i * lanes); });
}

/// [pieces][numbers of tiles, less one]
constexpr auto piece_products = []<int... i>(std::integer_sequence<int, i...>) {
  return std::array{&multiply_piece<i / most_tiles, i % most_tiles + 1>...};
}
(std::make_integer_sequence<int, pieces * most_tiles>{});

/// Lane i of the result is the sum of the lanes of row i.
template <int size = lanes / 2>
[[gnu::always_inline]] inline Vector sums_of(Vector (&rows)[lanes]) {
  [&]<int... lane>(std::integer_sequence<int, lane...>) {
#pragma GCC unroll 8
    for (int row = 0; row < size; ++row) {
      const Vector a = rows[row], b = rows[row + size];
      rows[row] = __builtin_shufflevector(a, b, ((lane & size) != 0 ? lanes + lane : lane)...) +
                  __builtin_shufflevector(a, b, ((lane & size) != 0 ? lanes + lane - size : lane + size)...);
    }
  }
  (std::make_integer_sequence<int, lanes>{});
  if constexpr (size > 1) return sums_of<size / 2>(rows);
  return rows[0];
}

/// Transforms the windows of a range of tiles to [pieces] as multiply_piece takes them.
void transform_group(const TileRange& range, const Images<const float>& images, const float* zeros,
                     float* group) {
  constexpr auto weights = UnitStride::UnweightedFilter::weights;
  const int64_t point = range.count() * lanes, vector = piece * point;
  for (int64_t tile = 0; tile < range.count(); ++tile) {
    const auto pixels = images.window<side>(range.tiling.position(range.first + tile), zeros);
    for (int64_t channel = 0; channel < images.channels; channel += lanes) {
      float* to = group + channel / lanes * vector + tile * lanes;
      transform<UnitStride::Input>(
          [&](int i) { return load(pixels[static_cast<size_t>(i)] + channel); },
          [&](int i, const Vector& value) {
            store(weights[i / side] * weights[i % side] * value,
                  to + i / piece * (images.channels / lanes * vector) + i % piece * point);
          });
    }
  }
}

/// Asks for floats that are read soon: filters that come from memory are then in a cache.
void fetch_ahead(const float* from, int64_t count) {
  constexpr int64_t line = 64 / sizeof(float);
  for (int64_t i = 0; i < count; i += line) __builtin_prefetch(from + i, 0, 2);
}

/// Products of a group of tiles with `lanes` filters, to `out` from the group's first tile on. Meanwhile the
/// filters that lie behind those are fetched, a part of them with every product.
void multiply_group(const TileRange& range, const float* group, int64_t channels, const float* weight,
                    float* sums, const Transformed& out) {
  const int64_t tiles = range.count(), count = piece * tiles;
  for (int64_t index = 0; index < pieces; ++index, group += count * channels) {
    const auto multiply = piece_products[static_cast<size_t>(index * most_tiles + tiles - 1)];
    for (int64_t output = 0; output < lanes; ++output) {
      const int64_t part = taps * channels / pieces;
      fetch_ahead(weight + lanes * taps * channels + (index * lanes + output) * part, part);
      multiply(group, channels, weight + output * taps * channels, sums + output * count * lanes);
    }
    for (int64_t i = 0; i < count; ++i) {
      Vector rows[lanes];
#pragma GCC unroll 16
      for (int output = 0; output < lanes; ++output) rows[output] = load(sums + (output * count + i) * lanes);
      store(sums_of(rows), out.at(index * piece + i / tiles, range.first + i % tiles));
    }
  }
}

}  // namespace

bool winograd_few_fits(const ConvShape& s) {
  // With one tile the filters' way through the caches takes longest; with more than some, transforming
  // filters once pays.
  constexpr int64_t least = 2, most = 4;
  if (s.stride != 1 || !winograd_takes(s)) return false;
  const Tiling tiling(s.batch, s.out_height(), s.out_width(), tile_size, 1, 1);
  const int64_t outputs = s.batch * s.out_height() * s.out_width();
  const bool are_filled = 4 * outputs >= 3 * tiling.tiles * tile_size * tile_size;
  return tiling.tiles >= least && tiling.tiles <= most && are_filled;
}

void winograd_few_forward(const ConvShape& s, const float* in, const float* weight, float* out) {
  const Tiling tiling(s.batch, s.out_height(), s.out_width(), tile_size, s.in_channels, 1);
  const Images<const float> from{in, s.in_height, s.in_width, s.in_channels, tile_size, s.padding};
  const Images<float> to{out, s.out_height(), s.out_width(), s.out_channels, tile_size};
  const int64_t groups = (tiling.tiles + most_tiles - 1) / most_tiles, points = side * side;
  const int64_t sums = lanes * piece * most_tiles * lanes;
  const int64_t out_stride = Transformed::stride(tiling.tiles, lanes);
  const int64_t per_thread =
      s.in_channels + lanes + tiling.tiles * points * s.in_channels + sums + points * out_stride;
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel if (tiling.tiles * points * s.in_channels * s.out_channels > serial_products)
  {
    float* zeros = floats(scratch) + per_thread * omp_get_thread_num();
    std::fill_n(zeros, s.in_channels, 0.0F);
    float* unused = zeros + s.in_channels;
    float* own_sums = unused + lanes;
    const Transformed products{own_sums + sums, lanes, out_stride};
    float* windows = products.data + points * out_stride;
    const auto range = [&](int64_t group) {
      return TileRange{tiling, group * tiling.tiles / groups, (group + 1) * tiling.tiles / groups};
    };
    const auto transformed = [&](int64_t group) {
      return windows + range(group).first * points * s.in_channels;
    };
    for (int64_t group = 0; group < groups; ++group)
      transform_group(range(group), from, zeros, transformed(group));
#pragma omp for schedule(static) nowait
    for (int64_t output = 0; output < s.out_channels; output += lanes) {
      for (int64_t group = 0; group < groups; ++group)
        multiply_group(range(group), transformed(group), s.in_channels,
                       weight + output * taps * s.in_channels, own_sums, products);
      transform_outputs<UnitStride::Output>({tiling, 0, tiling.tiles}, products, to.from(output), unused);
    }
  }
}

}  // namespace dw::cpu_backend
