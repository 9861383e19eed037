// 2-D pooling of NHWC activations. Backward passes gather: each input element sums the windows over it in a
// fixed order, so that nothing is added concurrently.
#include <limits>

#include "kernels/bodies/element.h"
#include "kernels/table.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

/// Neighbouring channels that one task works on.
constexpr int64_t channel_block = on_cuda ? 1 : 64;

/// A pixel of an image and a block of its channels.
struct Position {
  int64_t image, y, x, channel, width;
};

HD Position position_of(int64_t index, int64_t height, int64_t image_width, int64_t channels) {
  const int64_t blocks = (channels + channel_block - 1) / channel_block;
  Position at{};
  at.channel = index % blocks * channel_block;
  at.width = channels - at.channel < channel_block ? channels - at.channel : channel_block;
  index /= blocks;
  at.x = index % image_width;
  index /= image_width;
  at.y = index % height;
  at.image = index / height;
  return at;
}

/// Coordinates [begin, end) along one axis.
struct Extent {
  int64_t begin, end;
};

/// Inputs that output `o` sees.
HD Extent inputs_of(int64_t o, const PoolShape& shape, int64_t size) {
  const int64_t begin = o * shape.stride - shape.padding, end = begin + shape.kernel;
  return {begin > 0 ? begin : 0, end < size ? end : size};
}

/// Outputs that see input `i`.
HD Extent outputs_of(int64_t i, const PoolShape& shape, int64_t out_size) {
  const int64_t last = (i + shape.padding) / shape.stride;
  const int64_t reach = i + shape.padding - shape.kernel;
  const int64_t first = reach < 0 ? 0 : reach / shape.stride + 1;
  return {first, last + 1 < out_size ? last + 1 : out_size};
}

template <typename T>
struct MaxForward {
  PoolShape shape;
  int64_t out_height, out_width;
  const T* in;
  T* out;
  int64_t* winner;

  HD void operator()(int64_t index) const {
    using A = Arithmetic<T>;
    const Position at = position_of(index, out_height, out_width, shape.channels);
    const Extent rows = inputs_of(at.y, shape, shape.height), columns = inputs_of(at.x, shape, shape.width);
    A most[channel_block];
    int64_t offset[channel_block];
    for (int64_t c = 0; c < at.width; ++c) {
      most[c] = -std::numeric_limits<A>::infinity();
      offset[c] = rows.begin * shape.width + columns.begin;
    }
    for (int64_t y = rows.begin; y < rows.end; ++y)
      for (int64_t x = columns.begin; x < columns.end; ++x) {
        const int64_t pixel = y * shape.width + x;
        const T* from = in + (at.image * shape.height * shape.width + pixel) * shape.channels + at.channel;
        for (int64_t c = 0; c < at.width; ++c) {
          const A value = load(from[c]);
          const bool wins = (value > most[c]) | ((value != value) & (most[c] == most[c]));
          most[c] = wins ? value : most[c];
          offset[c] = wins ? pixel : offset[c];
        }
      }
    const int64_t to = ((at.image * out_height + at.y) * out_width + at.x) * shape.channels + at.channel;
    for (int64_t c = 0; c < at.width; ++c) {
      out[to + c] = store<T>(most[c]);
      winner[to + c] = offset[c];
    }
  }
};

template <typename T>
struct AverageForward {
  PoolShape shape;
  int64_t out_height, out_width;
  const T* in;
  T* out;

  HD void operator()(int64_t index) const {
    using A = Arithmetic<T>;
    const Position at = position_of(index, out_height, out_width, shape.channels);
    const Extent rows = inputs_of(at.y, shape, shape.height), columns = inputs_of(at.x, shape, shape.width);
    A total[channel_block];
    for (int64_t c = 0; c < at.width; ++c) total[c] = 0;
    for (int64_t y = rows.begin; y < rows.end; ++y)
      for (int64_t x = columns.begin; x < columns.end; ++x) {
        const T* from = in + ((at.image * shape.height + y) * shape.width + x) * shape.channels + at.channel;
        for (int64_t c = 0; c < at.width; ++c) total[c] += load(from[c]);
      }
    T* to = out + ((at.image * out_height + at.y) * out_width + at.x) * shape.channels + at.channel;
    const A area = static_cast<A>(shape.kernel * shape.kernel);
    for (int64_t c = 0; c < at.width; ++c) to[c] = store<T>(total[c] / area);
  }
};

/// Gradient of either pooling: `winner` is null for the average.
template <typename T>
struct Backward {
  PoolShape shape;
  int64_t out_height, out_width;
  const T* out_gradient;
  const int64_t* winner;
  T* in_gradient;

  HD void operator()(int64_t index) const {
    using A = Arithmetic<T>;
    const Position at = position_of(index, shape.height, shape.width, shape.channels);
    const Extent rows = outputs_of(at.y, shape, out_height), columns = outputs_of(at.x, shape, out_width);
    const int64_t pixel = at.y * shape.width + at.x;
    A total[channel_block];
    for (int64_t c = 0; c < at.width; ++c) total[c] = 0;
    for (int64_t y = rows.begin; y < rows.end; ++y)
      for (int64_t x = columns.begin; x < columns.end; ++x) {
        const int64_t from = ((at.image * out_height + y) * out_width + x) * shape.channels + at.channel;
        for (int64_t c = 0; c < at.width; ++c)
          if (winner == nullptr || winner[from + c] == pixel) total[c] += load(out_gradient[from + c]);
      }
    const A area = winner == nullptr ? static_cast<A>(shape.kernel * shape.kernel) : A(1);
    T* to =
        in_gradient + ((at.image * shape.height + at.y) * shape.width + at.x) * shape.channels + at.channel;
    for (int64_t c = 0; c < at.width; ++c) to[c] = store<T>(total[c] / area);
  }
};

void check(const PoolShape& shape) {
  require(
      shape.kernel > 0 && shape.stride > 0 && shape.padding >= 0 && 2 * shape.padding <= shape.kernel &&
          shape.height + 2 * shape.padding >= shape.kernel && shape.width + 2 * shape.padding >= shape.kernel,
      "pooling of {}x{} with kernel {}, stride {}, padding {}: the window must fit, and padding be at most "
      "half of it",
      shape.height, shape.width, shape.kernel, shape.stride, shape.padding);
}

/// Runs `body` for every pixel of the images, in blocks of channels.
template <typename Body>
void for_each_pixel(Stream stream, const PoolShape& shape, int64_t pixels, const Body& body) {
  const int64_t blocks = (shape.channels + channel_block - 1) / channel_block;
  for_each_index(stream, shape.batch * pixels * blocks, body,
                 std::min(shape.channels, channel_block) * shape.kernel);
}

void max_pool(Stream stream, const PoolShape& shape, const void* in, void* out, int64_t* index) {
  check(shape);
  dispatch_floating(shape.dtype, "max_pool", [&](auto zero) {
    using T = decltype(zero);
    for_each_pixel(stream, shape, shape.out_height() * shape.out_width(),
                   MaxForward<T>{shape, shape.out_height(), shape.out_width(), static_cast<const T*>(in),
                                 static_cast<T*>(out), index});
  });
}

void average_pool(Stream stream, const PoolShape& shape, const void* in, void* out) {
  check(shape);
  dispatch_floating(shape.dtype, "average_pool", [&](auto zero) {
    using T = decltype(zero);
    for_each_pixel(stream, shape, shape.out_height() * shape.out_width(),
                   AverageForward<T>{shape, shape.out_height(), shape.out_width(), static_cast<const T*>(in),
                                     static_cast<T*>(out)});
  });
}

void max_pool_backward(Stream stream, const PoolShape& shape, const void* out_gradient, const int64_t* index,
                       void* in_gradient) {
  check(shape);
  dispatch_floating(shape.dtype, "max_pool_backward", [&](auto zero) {
    using T = decltype(zero);
    for_each_pixel(stream, shape, shape.height * shape.width,
                   Backward<T>{shape, shape.out_height(), shape.out_width(),
                               static_cast<const T*>(out_gradient), index, static_cast<T*>(in_gradient)});
  });
}

void average_pool_backward(Stream stream, const PoolShape& shape, const void* out_gradient,
                           void* in_gradient) {
  max_pool_backward(stream, shape, out_gradient, nullptr, in_gradient);
}

}  // namespace

void add_pooling(KernelTable& table) {
  table.max_pool = max_pool;
  table.max_pool_backward = max_pool_backward;
  table.average_pool = average_pool;
  table.average_pool_backward = average_pool_backward;
}

}  // namespace dw::DEEPWATER_BACKEND
