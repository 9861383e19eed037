// 3x3 convolution of stride 1 or 2 in single precision by Winograd's minimal filtering, for all three passes:
// 1/4 of the products of the definition at stride 1 and 9/16 at stride 2, at about twice its rounding error.
// Tiles are transformed, multiplied and transformed back in blocks that stay in the caches; filters, unless
// they are kept from call to call, as in a graph with constant filters, first. Floor: 4.5
// (stride 2: 10.125) · outputs of a channel · channels in · channels out flops a pass at the machine's rate,
// and few channels: input and output once at its bandwidth. Every tile is computed alike in whatever block,
// and what is summed over blocks is cut by the shape alone, so the thread count changes no bit.
#include "kernels/cpu/convolution_winograd.h"

#include <omp.h>

#include "kernels/cpu/winograd_blocks.h"
#include "kernels/cpu/winograd_stride_two.h"
#include "kernels/cpu/winograd_unit_stride.h"

namespace dw::cpu_backend {
namespace {

/// What another core has just written comes slowly: so many transformed values, a part of the second-level
/// cache, every thread rather makes for itself.
constexpr int64_t most_own_floats = 300 << 10;

/// The transforms of a pass at a stride: of windows of what it reads, of filters, and back to what it writes.
template <typename Stride>
struct Forward {
  using Window = typename Stride::Input;
  using Filter = typename Stride::Filter;
  using Result = typename Stride::Output;
};
template <typename Stride>
struct BackwardData {
  using Window = typename Stride::OutputWindow;
  using Filter = typename Stride::Filter;
  using Result = typename Stride::InputGradient;
};

/// Where the transformed filters of a pair of numbers of channels lie: [filter_points²], each padded as the
/// points of tiles are, of [panels of output channels][input channels][panel].
struct FilterLayout {
  int64_t in_channels, out_channels;
  int64_t panel = vectors_of(out_channels) * lanes;
  int64_t stride = Transformed::stride(in_channels, out_channels);

  int64_t size() const { return filter_points * filter_points * stride; }
  int64_t items() const { return out_channels / panel * (in_channels / lanes); }
};

/// out = in · filters, those as in FilterLayout; or out += that.
template <int side, int vectors>
void multiply_filters(const Transformed& in, const FilterLayout& layout, const float* filters, int64_t tiles,
                      const Transformed& out, bool accumulate) {
  constexpr int panel = vectors * lanes;
  for (int64_t filter = 0; filter < filter_points * filter_points; ++filter) {
    const FilterUse use = FilterUse::of(filter, side);
    for (int64_t channel = 0; channel < out.channels; channel += panel)
      for (int64_t row = use.row; row < use.row + use.rows; ++row)
        for (int64_t column = use.column; column < use.column + use.columns; ++column)
          multiply_rows<vectors>({layout.in_channels, 1, panel}, {tiles, in.channels, out.channels},
                                 in.at(row * side + column, 0),
                                 filters + filter * layout.stride + channel * layout.in_channels,
                                 out.at(row * side + column, 0) + channel, accumulate);
  }
}

/// Transforms `lanes` input channels of a panel of filters to `to`. `read(input, output, tap, rows)` fills
/// rows [input channels], lanes of output channels, of what belongs to a tap, from the channels given on.
template <typename OneDimension, typename Read>
void transform_filters(const FilterLayout& layout, int64_t first_output, int64_t input, const Read& read,
                       float* to) {
  for (int64_t beside = 0; beside < layout.panel; beside += lanes) {
    Vector values[taps][lanes];
    for (int tap = 0; tap < taps; ++tap) read(input, first_output + beside, tap, values[tap]);
    for (int row = 0; row < lanes; ++row) {
      float* first = to + row * layout.panel + beside;
      transform<OneDimension>(
          [&](int tap) { return values[tap][row]; },
          [&](int filter, const Vector& value) { store(value, first + filter * layout.stride); });
    }
  }
}

/// Transformed values that all threads make together; each for itself where they are few enough.
class SharedWork {
 public:
  explicit SharedWork(int64_t size)
      : is_own_(size <= most_own_floats),
        size_(size),
        memory_(float_buffer(is_own_ ? omp_get_max_threads() * size : size)) {}

  /// Those that this thread reads.
  float* data() const { return floats(memory_) + (is_own_ ? omp_get_thread_num() * size_ : 0); }

  /// Calls body(first, end) for what this thread makes of `count` items. All are made on return.
  template <typename Body>
  void make(int64_t count, const Body& body) const {
    if (is_own_) return body(0, count);
    const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const int64_t first = thread * count / threads, end = (thread + 1) * count / threads;
    if (first < end) body(first, end);
#pragma omp barrier
  }

 private:
  bool is_own_;
  int64_t size_;
  Buffer memory_;
};

/// Transforms items [begin, end) of all filters: `lanes` input channels of a panel each.
template <typename OneDimension, typename Read>
void transform_items(const FilterLayout& layout, int64_t begin, int64_t end, const Read& read, float* to) {
  const int64_t across = layout.in_channels / lanes;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t first = item / across * layout.panel, input = item % across * lanes;
    transform_filters<OneDimension>(layout, first, input, read,
                                    to + first * layout.in_channels + input * layout.panel);
  }
}

/// All filters are transformed first, unless they are `kept` from before, then block after block of tiles is
/// multiplied by some of them after the other.
template <typename Pass, typename Read>
void convolve_blocks(const Tiling& tiling, const Images<const float>& in, const Read& read, const float* kept,
                     const Images<float>& out) {
  constexpr int side = Pass::Window::to, points = side * side;
  const int64_t in_stride = Transformed::stride(tiling.block_tiles(), in.channels);
  // So few that products are transformed back before they leave the caches, but worth another reading of the
  // inputs.
  const int64_t at_once = std::min<int64_t>(out.channels, in.channels >= 128 ? 32 : 64);
  const int64_t out_stride = Transformed::stride(tiling.block_tiles(), at_once);
  const int64_t per_thread = points * (in_stride + out_stride) + in.channels + out.channels;
  const FilterLayout layout{in.channels, out.channels};
  const SharedWork made(kept != nullptr ? 0 : layout.size());
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
  const bool serial = tiling.tiles * points * in.channels * out.channels <= serial_products;
#pragma omp parallel if (!serial)
  {
    if (kept == nullptr)
      made.make(layout.items(), [&](int64_t begin, int64_t end) {
        transform_items<typename Pass::Filter>(layout, begin, end, read, made.data());
      });
    const float* filters = kept != nullptr ? kept : made.data();
    float* zeros = floats(scratch) + per_thread * omp_get_thread_num();
    std::fill_n(zeros, in.channels, 0.0F);
    float* unused = zeros + in.channels;
    const Transformed inputs{unused + out.channels, in.channels, in_stride};
    float* results = inputs.data + points * in_stride;
#pragma omp for schedule(static) nowait
    for (int64_t block = 0; block < tiling.blocks; ++block) {
      const TileRange range{tiling, tiling.first_tile(block), tiling.first_tile(block + 1)};
      transform_windows<typename Pass::Window>(range, in, zeros, inputs);
      const auto multiply_all =
          vectors_of(out.channels) == 2 ? multiply_filters<side, 2> : multiply_filters<side, 1>;
      for (int64_t first = 0; first < out.channels; first += at_once) {
        const Transformed products{results, std::min(at_once, out.channels - first), out_stride};
        multiply_all(inputs, layout, filters + first * in.channels, range.count(), products, false);
        transform_outputs<typename Pass::Result>(range, products, out.from(first), unused);
      }
    }
  }
}

/// All tiles are transformed first, then multiplied by panel after panel of filters, some input channels of
/// which are transformed just before, unless they are `kept`.
template <typename Pass, typename Read>
void convolve_panels(const Tiling& tiling, const Images<const float>& in, const Read& read, const float* kept,
                     const Images<float>& out) {
  constexpr int side = Pass::Window::to, points = side * side;
  constexpr int64_t most_depth = 64;
  // Narrow ones where there would be too few for the threads.
  const bool wide = vectors_of(out.channels) == 2 &&
                    (kept != nullptr || out.channels / (2 * lanes) >= omp_get_max_threads());
  const FilterLayout layout{std::min(in.channels, most_depth), wide ? 2 * lanes : lanes};
  const int64_t in_stride = Transformed::stride(tiling.tiles, in.channels);
  const int64_t out_stride = Transformed::stride(tiling.tiles, layout.panel);
  const SharedWork transformed(points * in_stride);
  const int64_t per_thread = in.channels + layout.panel + layout.size() + points * out_stride;
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel
  {
    float* zeros = floats(scratch) + per_thread * omp_get_thread_num();
    std::fill_n(zeros, in.channels, 0.0F);
    const Transformed inputs{transformed.data(), in.channels, in_stride};
    transformed.make(tiling.tiles, [&](int64_t first, int64_t end) {
      transform_windows<typename Pass::Window>({tiling, first, end}, in, zeros, inputs.from(first));
    });
    float* unused = zeros + in.channels;
    float* filters = unused + layout.panel;
    const Transformed products{filters + layout.size(), layout.panel, out_stride};
    const auto multiply_all = wide ? multiply_filters<side, 2> : multiply_filters<side, 1>;
#pragma omp for schedule(static) nowait
    for (int64_t first = 0; first < out.channels; first += layout.panel) {
      if (kept != nullptr)
        multiply_all(inputs, {in.channels, out.channels}, kept + first * in.channels, tiling.tiles, products,
                     false);
      for (int64_t from = 0; kept == nullptr && from < in.channels; from += layout.in_channels) {
        const FilterLayout part{std::min(most_depth, in.channels - from), layout.panel};
        for (int64_t input = 0; input < part.in_channels; input += lanes)
          transform_filters<typename Pass::Filter>(part, first, from + input, read,
                                                   filters + input * layout.panel);
        multiply_all(inputs.from_channel(from), part, filters, tiling.tiles, products, from > 0);
      }
      transform_outputs<typename Pass::Result>({tiling, 0, tiling.tiles}, products, out.from(first), unused);
    }
  }
}

/// Where tiles are few for the filters, threads divide the filters among them instead of the tiles, and
/// transform them where they are multiplied: so many would not stay in the caches until the next block.
template <typename Pass, typename Read>
void convolve(int64_t batch, const Images<const float>& in, const Read& read, const float* kept,
              const Images<float>& out) {
  constexpr int64_t few_tiles = 32, filters_per_tile = 64, some_tiles = 128, many_filters = 1 << 16;
  const Tiling tiling(batch, out.height, out.width, out.step,
                      Pass::Window::to * Pass::Window::to * (in.channels + out.channels),
                      omp_get_max_threads());
  const int64_t filters = in.channels * out.channels;
  if ((tiling.tiles <= few_tiles && filters > filters_per_tile * tiling.tiles) ||
      (tiling.tiles <= some_tiles && filters >= many_filters))
    convolve_panels<Pass>(tiling, in, read, kept, out);
  else
    convolve_blocks<Pass>(tiling, in, read, kept, out);
}

/// Reads filters as they lie, see transform_filters.
auto forward_filters(const ConvShape& s, const float* weight) {
  return [weight, channels = s.in_channels](int64_t input, int64_t output, int tap, Vector(&rows)[lanes]) {
    for (int lane = 0; lane < lanes; ++lane)
      rows[lane] = load(weight + ((output + lane) * taps + tap) * channels + input);
    transpose(rows);
  };
}

/// By the filters in `weight`, or by those `kept`.
template <typename Stride>
void forward(const ConvShape& s, const float* in, const float* weight, const float* kept, float* out) {
  constexpr int64_t tile = Stride::Output::to;
  convolve<Forward<Stride>>(s.batch, {in, s.in_height, s.in_width, s.in_channels, tile * s.stride, s.padding},
                            forward_filters(s, weight), kept,
                            {out, s.out_height(), s.out_width(), s.out_channels, tile});
}

/// A convolution of the gradients with the filters turned by 180 degrees, their channels exchanged. `offset`
/// is that of its windows.
template <typename Stride>
void backward_data(const ConvShape& s, const float* out_gradient, const float* weight, float* in_gradient,
                   int64_t offset) {
  constexpr int64_t tile = Stride::InputGradient::to;
  convolve<BackwardData<Stride>>(
      s.batch, {out_gradient, s.out_height(), s.out_width(), s.out_channels, tile / s.stride, offset},
      [&](int64_t output, int64_t input, int tap, Vector(&rows)[lanes]) {
        for (int row = 0; row < lanes; ++row)
          rows[row] = load(weight + ((output + row) * taps + taps - 1 - tap) * s.in_channels + input);
      },
      nullptr, {in_gradient, s.in_height, s.in_width, s.in_channels, tile});
}

}  // namespace

bool winograd_fits(const ConvShape& s) {
  if (!winograd_takes(s)) return false;
  // With fewer positions than these, transforming the filters costs more than it saves; with fewer filters,
  // transforming the tiles of stride 2.
  constexpr int64_t least_positions = 128, strided_positions = 256, least_strided = 1 << 11;
  const int64_t positions = s.batch * s.out_height() * s.out_width();
  if (s.stride == 2) return positions >= strided_positions && s.in_channels * s.out_channels >= least_strided;
  return positions >= least_positions;
}

void winograd_forward(const ConvShape& s, const float* in, const float* weight, float* out) {
  (s.stride == 1 ? forward<UnitStride> : forward<StrideTwo>)(s, in, weight, nullptr, out);
}

bool winograd_keeps(const ConvShape& s) {
  return winograd_fits(s) || winograd_few_fits(s);
}

size_t winograd_filter_bytes(const ConvShape& s) {
  return static_cast<size_t>(FilterLayout{s.in_channels, s.out_channels}.size()) * sizeof(float);
}

Buffer winograd_filters(const ConvShape& s, const float* weight) {
  const FilterLayout layout{s.in_channels, s.out_channels};
  Buffer filters = float_buffer(layout.size());
  const auto transform_all = s.stride == 1
                                 ? transform_items<UnitStride::Filter, decltype(forward_filters(s, weight))>
                                 : transform_items<StrideTwo::Filter, decltype(forward_filters(s, weight))>;
#pragma omp parallel for schedule(static)
  for (int64_t item = 0; item < layout.items(); ++item)
    transform_all(layout, item, item + 1, forward_filters(s, weight), floats(filters));
  return filters;
}

void winograd_forward_kept(const ConvShape& s, const float* in, const Buffer& filters, float* out) {
  (s.stride == 1 ? forward<UnitStride> : forward<StrideTwo>)(s, in, nullptr, floats(filters), out);
}

void winograd_backward_data(const ConvShape& s, const float* out_gradient, const float* weight,
                            float* in_gradient) {
  if (s.stride == 1)
    backward_data<UnitStride>(s, out_gradient, weight, in_gradient, 2 - s.padding);
  else
    backward_data<StrideTwo>(s, out_gradient, weight, in_gradient, 0);
}

}  // namespace dw::cpu_backend
