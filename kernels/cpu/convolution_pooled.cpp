// Convolution and maximum pooling behind it: of few channels two rows of outputs at a time, of which only the
// maxima are ever written; else a few images at a time, which are pooled while they are in the caches. In
// rows, lanes run along a row, so that a few filters fill whole vectors. Floor: 2 · outputs · filter size
// flops at the machine's rate, or input and pooled output once. What is summed in which order depends on the
// shape alone, so the thread count changes no bit.
#include <omp.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/conv_max_pool.h"
#include "kernels/cpu/float_buffer.h"
#include "kernels/cpu/matrix_tile.h"
#include "kernels/cpu/recording.h"
#include "kernels/cpu/winograd_transform.h"

namespace dw::cpu_backend {
namespace {

constexpr int most_filters = 6;                ///< whose sums of two rows stay in registers
constexpr int vectors = lanes == 16 ? 2 : 1;   ///< of a row of outputs
constexpr int64_t together = vectors * lanes;  ///< outputs of a row

/// An image with its border as planes [channel][row][stride], zeros where there is no pixel.
struct Planes {
  float* data;
  int64_t rows, stride;

  Planes(const ConvShape& s, float* memory)
      : data(memory),
        rows(s.in_height + 2 * s.padding),
        stride(std::max(s.in_width + 2 * s.padding, round_up(s.out_width(), together) + s.kernel_width - 1)) {
  }
  int64_t plane() const { return rows * stride; }
  static int64_t size(const ConvShape& s) { return s.in_channels * Planes(s, nullptr).plane(); }

  /// The border stays as it is.
  void copy_from(const ConvShape& s, const float* image) const {
    for (int64_t y = 0; y < s.in_height; ++y)
      for (int64_t channel = 0; channel < s.in_channels; ++channel) {
        float* to = data + channel * plane() + (y + s.padding) * stride + s.padding;
        const float* from = image + y * s.in_width * s.in_channels + channel;
        if (s.in_channels == 1)
          std::copy_n(from, s.in_width, to);
        else
          for (int64_t x = 0; x < s.in_width; ++x) to[x] = from[x * s.in_channels];
      }
  }
};

/// Lane by lane; a NaN is larger than everything.
Vector larger(const Vector& a, const Vector& b) {
  return ((b <= a) | (a != a)) ? a : b;
}

/// The maxima of output rows y and y + 1 of every filter, [filters][round_up(width, together)]. Weights
/// are [kernel rows][channels][kernel columns][filters].
template <int filters>
void larger_of_two_rows(const ConvShape& s, const Planes& in, int64_t y, const float* weights, float* out) {
  const int64_t width = round_up(s.out_width(), together),
                row_weights = s.kernel_width * s.in_channels * filters;
  for (int64_t x = 0; x < width; x += together) {
    Vector sum[2][filters][vectors] = {};
    // What an input row adds to the rows of outputs [first, end).
    const auto add = [&]<int first, int end>(std::integer_sequence<int, first, end>, int64_t row) {
      const float* weight = weights + row * row_weights;
      for (int64_t channel = 0; channel < s.in_channels; ++channel) {
        const float* values = in.data + channel * in.plane() + (y + row) * in.stride + x;
        for (int64_t column = 0; column < s.kernel_width; ++column, ++values, weight += filters) {
          Vector value[vectors];
          unrolled<vectors>([&](auto v) { value[v] = load(values + v * lanes); });
          unrolled<2>([&](auto run) {
            if constexpr (run >= first && run < end)
              unrolled<filters>([&](auto filter) {
                const float factor = weight[filter - run * row_weights];
                unrolled<vectors>([&](auto v) { sum[run][filter][v] += factor * value[v]; });
              });
          });
        }
      }
    };
    add(std::integer_sequence<int, 0, 1>{}, 0);
    for (int64_t row = 1; row < s.kernel_height; ++row) add(std::integer_sequence<int, 0, 2>{}, row);
    add(std::integer_sequence<int, 1, 2>{}, s.kernel_height);
    unrolled<filters>([&](auto filter) {
      unrolled<vectors>([&](auto v) {
        store(larger(sum[0][filter][v], sum[1][filter][v]), out + filter * width + x + v * lanes);
      });
    });
  }
}

/// `count` maxima of neighbours in each of the rows [filters][width], plus the filter's bias, if there is
/// any; filters side by side. Reads up to two vectors more than that.
void write_pooled(const float* rows, int64_t width, int64_t filters, int64_t count, const float* bias,
                  bool relu, float* out) {
  const float* end = out + count * filters;
  [&]<int... lane>(std::integer_sequence<int, lane...>) {
    for (int64_t x = 0; x < count; x += lanes)
      for (int64_t first = 0; first < filters; first += lanes) {
        Vector block[lanes];
        for (int64_t i = 0; i < lanes; ++i) {
          const int64_t filter = std::min(first + i, filters - 1);
          const float* from = rows + filter * width + 2 * x;
          const Vector left = load(from), right = load(from + lanes);
          block[i] = larger(__builtin_shufflevector(left, right, (2 * lane)...),
                            __builtin_shufflevector(left, right, (2 * lane + 1)...));
          if (bias != nullptr) block[i] += bias[filter];
          if (relu) block[i] = block[i] <= 0.0F ? Vector{} : block[i];
        }
        transpose(block);
        for (int64_t i = 0; i < std::min(lanes, count - x); ++i) {
          float* to = out + (x + i) * filters + first;
          // A whole vector where what it writes too much is written again.
          if (filters <= lanes && end - to >= lanes)
            store(block[i], to);
          else
            std::copy_n(reinterpret_cast<const float*>(&block[i]), std::min(lanes, filters - first), to);
        }
      }
  }
  (std::make_integer_sequence<int, lanes>{});
}

bool rows_fit(const ConvShape& s, const PoolShape& pool) {
  constexpr int64_t most_channels = 4, most_pixels = 1 << 14;
  return s.dtype == DType::f32 && s.batch > 0 && s.in_channels > 0 && s.out_channels > 0 && s.groups == 1 &&
         s.dilation == 1 && s.stride == 1 && s.out_channels <= most_filters &&
         s.in_channels <= most_channels && s.in_height * s.in_width <= most_pixels && pool.kernel == 2 &&
         pool.stride == 2 && pool.padding == 0;
}

void convolve_rows(const ConvShape& s, const PoolShape& pool, const float* in, const float* weight,
                   const float* bias, bool relu, float* out) {
  static constexpr auto of_filters = []<int... i>(std::integer_sequence<int, i...>) {
    return std::array{&larger_of_two_rows<i + 1>...};
  }
  (std::make_integer_sequence<int, most_filters>{});
  const int64_t filters = s.out_channels, depth = s.kernel_height * s.kernel_width * s.in_channels;
  const int64_t width = round_up(s.out_width(), together);
  const int64_t planes = Planes::size(s), per_thread = planes + filters * width + 2 * lanes;
  const Buffer packed = float_buffer(depth * filters),
               scratch = float_buffer(per_thread * omp_get_max_threads());
  float* to = floats(packed);
  for (int64_t row = 0; row < s.kernel_height; ++row)
    for (int64_t channel = 0; channel < s.in_channels; ++channel)
      for (int64_t column = 0; column < s.kernel_width; ++column)
        for (int64_t filter = 0; filter < filters; ++filter)
          *to++ = weight[filter * depth + (row * s.kernel_width + column) * s.in_channels + channel];
  const int64_t in_image = s.in_height * s.in_width * s.in_channels, out_row = pool.out_width() * filters;
#pragma omp parallel if (s.batch * s.out_height() * width * filters * depth > serial_products)
  {
    const Planes image(s, floats(scratch) + per_thread * omp_get_thread_num());
    float* rows = image.data + planes;
    std::fill_n(image.data, planes, 0.0F);
#pragma omp for schedule(static) nowait
    for (int64_t n = 0; n < s.batch; ++n) {
      image.copy_from(s, in + n * in_image);
      for (int64_t y = 0; y < pool.out_height(); ++y) {
        of_filters[static_cast<size_t>(filters - 1)](s, image, 2 * y, floats(packed), rows);
        write_pooled(rows, width, filters, pool.out_width(), bias, relu,
                     out + (n * pool.out_height() + y) * out_row);
      }
    }
  }
}

void conv_max_pool(Stream stream, const ConvShape& s, const PoolShape& pool, const void* in,
                   const void* weight, const void* bias, bool relu, void* out) {
  if (rows_fit(s, pool)) {
    convolve_rows(s, pool, static_cast<const float*>(in), static_cast<const float*>(weight),
                  static_cast<const float*>(bias), relu, static_cast<float*>(out));
    return;
  }
  // A part of the second-level caches of two cores. It does not follow the threads, for the number of images
  // may decide how they are convolved.
  constexpr int64_t cached_bytes = 2 << 20;
  const int64_t image_bytes =
      s.out_height() * s.out_width() * s.out_channels * static_cast<int64_t>(size_of(s.dtype));
  conv_then_max_pool(plain_table(), stream, s, pool, in, weight, bias, relu, out,
                     std::max<int64_t>(1, cached_bytes / std::max<int64_t>(1, image_bytes)));
}

}  // namespace

void add_pooled_convolution(KernelTable& table) {
  table.conv_max_pool = conv_max_pool;
}

}  // namespace dw::cpu_backend
