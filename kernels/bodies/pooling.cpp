// 2-D pooling of NHWC activations: a CUDA thread per element; on the CPU a task per row of pixels, in blocks
// of channels of a width known to the compiler. Backward passes gather: each input element sums the windows
// over it in a fixed order, so that nothing is added concurrently; the CPU scatters maxima instead, a task
// per image.
// Floor: the bytes of input and output once each, for maxima also 8 bytes of index for each output.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "kernels/bodies/element.h"
#include "kernels/table.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

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

/// Whether `value` takes the place of the largest so far: a NaN does, and stays.
template <typename A>
HD bool exceeds(A value, A most) {
  return !(value <= most) & (most == most);
}

template <typename T>
struct MaxForward {
  PoolShape shape;
  int64_t out_height, out_width;
  const T* in;
  T* out;
  int64_t* winner;  ///< null where nobody asks

  /// Windows that do not overlap leave input behind each but the last of a row.
  HD bool may_overrun() const { return shape.stride >= shape.kernel; }

  template <int width>
  HD void block(int64_t image, int64_t out_y, int64_t out_x, int64_t channel) const {
    const Extent rows = inputs_of(out_y, shape, shape.height), columns = inputs_of(out_x, shape, shape.width);
    const int64_t to = ((image * out_height + out_y) * out_width + out_x) * shape.channels + channel;
    const int64_t height = rows.end - rows.begin, across = columns.end - columns.begin;
    const int64_t first = rows.begin * shape.width + columns.begin;
    // The usual window is unrolled, so that its maximum stays in registers.
    if (height == 2 && across == 2)
      window<width>(image, first, 2, 2, channel, to);
    else
      window<width>(image, first, height, across, channel, to);
  }

 private:
  template <int width>
  HD [[gnu::always_inline]] void window(int64_t image, int64_t first, int64_t height, int64_t across,
                                        int64_t channel, int64_t to) const {
    using A = Arithmetic<T>;
    const T* from = in + (image * shape.height * shape.width + first) * shape.channels + channel;
    A most[width];
    int32_t offset[width];
    for (int c = 0; c < width; ++c) {
      most[c] = -std::numeric_limits<A>::infinity();
      offset[c] = static_cast<int32_t>(first);
    }
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < across; ++x) {
        const int64_t pixel = y * shape.width + x;
#pragma omp simd
        for (int c = 0; c < width; ++c) {
          const A value = load(from[pixel * shape.channels + c]);
          const bool wins = exceeds(value, most[c]);
          most[c] = wins ? value : most[c];
          offset[c] = wins ? static_cast<int32_t>(first + pixel) : offset[c];
        }
      }
    for (int c = 0; c < width; ++c) out[to + c] = store<T>(most[c]);
    if (winner == nullptr) return;
    for (int c = 0; c < width; ++c) winner[to + c] = offset[c];
  }
};

template <typename T>
struct AverageForward {
  PoolShape shape;
  int64_t out_height, out_width;
  const T* in;
  T* out;

  HD bool may_overrun() const { return shape.stride >= shape.kernel; }

  template <int width>
  HD void block(int64_t image, int64_t out_y, int64_t out_x, int64_t channel) const {
    using A = Arithmetic<T>;
    const Extent rows = inputs_of(out_y, shape, shape.height), columns = inputs_of(out_x, shape, shape.width);
    A total[width] = {};
    for (int64_t y = rows.begin; y < rows.end; ++y)
      for (int64_t x = columns.begin; x < columns.end; ++x) {
        const T* from = in + ((image * shape.height + y) * shape.width + x) * shape.channels + channel;
        for (int c = 0; c < width; ++c) total[c] += load(from[c]);
      }
    T* to = out + ((image * out_height + out_y) * out_width + out_x) * shape.channels + channel;
    const A area = static_cast<A>(shape.kernel * shape.kernel);
    for (int c = 0; c < width; ++c) to[c] = store<T>(total[c] / area);
  }
};

/// Gradient of either pooling: `winner` is null for the average.
template <typename T>
struct GatherBackward {
  PoolShape shape;
  int64_t out_height, out_width;
  const T* out_gradient;
  const int64_t* winner;
  T* in_gradient;

  HD bool may_overrun() const { return false; }

  template <int width>
  HD void block(int64_t image, int64_t in_y, int64_t in_x, int64_t channel) const {
    using A = Arithmetic<T>;
    const Extent rows = outputs_of(in_y, shape, out_height), columns = outputs_of(in_x, shape, out_width);
    const int64_t pixel = in_y * shape.width + in_x;
    A total[width] = {};
    for (int64_t y = rows.begin; y < rows.end; ++y)
      for (int64_t x = columns.begin; x < columns.end; ++x) {
        const int64_t from = ((image * out_height + y) * out_width + x) * shape.channels + channel;
        for (int c = 0; c < width; ++c)
          if (winner == nullptr || winner[from + c] == pixel) total[c] += load(out_gradient[from + c]);
      }
    const A area = winner == nullptr ? static_cast<A>(shape.kernel * shape.kernel) : A(1);
    T* to = in_gradient + ((image * shape.height + in_y) * shape.width + in_x) * shape.channels + channel;
    for (int c = 0; c < width; ++c) to[c] = store<T>(total[c] / area);
  }
};

/// Gradient of maximum pooling, one image: the sums of GatherBackward in the same order.
template <typename T>
struct ScatterBackward {
  PoolShape shape;
  int64_t out_pixels;
  const T* out_gradient;
  const int64_t* winner;
  T* in_gradient;

  HD void operator()(int64_t image) const {
    const int64_t inputs = shape.height * shape.width * shape.channels;
    const int64_t first = image * out_pixels * shape.channels;
    T* to = in_gradient + image * inputs;
    for (int64_t i = 0; i < inputs; ++i) to[i] = T(0);
    for (int64_t pixel = 0; pixel < out_pixels; ++pixel)
      for (int64_t c = 0; c < shape.channels; ++c) {
        const int64_t from = first + pixel * shape.channels + c;
        to[winner[from] * shape.channels + c] += out_gradient[from];
      }
  }
};

/// Blocks of a body for the channels of a pixel. Where it may overrun, a block can have a few channels too
/// many: they are the next pixel's, which computes them again.
template <typename Body>
HD [[gnu::always_inline]] inline void for_each_block(const Body& body, int64_t image, int64_t y, int64_t x,
                                                     int64_t channels, bool may_overrun) {
  const int64_t spare = may_overrun ? std::min<int64_t>(channels, 3) : 0;
  int64_t channel = 0;
  for (; channel + 16 <= channels; channel += 16) body.template block<16>(image, y, x, channel);
  for (; channel < channels && channel + 8 <= channels + spare; channel += 8)
    body.template block<8>(image, y, x, channel);
  for (; channel + 4 <= channels; channel += 4) body.template block<4>(image, y, x, channel);
  for (; channel + 2 <= channels; channel += 2) body.template block<2>(image, y, x, channel);
  for (; channel < channels; ++channel) body.template block<1>(image, y, x, channel);
}

/// Blocks of a body for every pixel and channel of [image, height, width, channels].
template <typename Body>
struct PixelTask {
  Body body;
  int64_t height, width, channels;

  HD void operator()(int64_t index) const {
    if constexpr (on_cuda) {
      const int64_t channel = index % channels, x = index / channels % width;
      const int64_t row = index / channels / width;
      body.template block<1>(row / height, row % height, x, channel);
    } else {
      const int64_t image = index / height, y = index % height;
      for (int64_t x = 0; x < width; ++x)
        for_each_block(body, image, y, x, channels, body.may_overrun() && x + 1 < width);
    }
  }
};

/// Maximum pooling without indices on the CPU, a task per row of outputs: first the maxima of the rows of the
/// windows, whole rows at a time, then those of their columns.
template <typename T>
struct MaxRowTask {
  using A = Arithmetic<T>;
  static constexpr int64_t room = 4096;  ///< values of a row, or of a part of it

  PoolShape shape;
  int64_t out_height, out_width;
  const T* in;
  T* out;

  /// Inputs of a row that are kept at a time.
  int64_t fitting() const { return room / std::max<int64_t>(shape.channels, 1); }

  void operator()(int64_t index) const {
    const int64_t image = index / out_height, y = index % out_height;
    const Extent rows = inputs_of(y, shape, shape.height);
    const int64_t part = (fitting() - shape.kernel) / shape.stride + 1;
    A most[room + 16];
    for (int64_t first = 0; first < out_width; first += part) {
      const int64_t last = std::min(first + part, out_width) - 1;
      const int64_t begin = inputs_of(first, shape, shape.width).begin;
      const int64_t count = (inputs_of(last, shape, shape.width).end - begin) * shape.channels;
      const T* from = in + ((image * shape.height + rows.begin) * shape.width + begin) * shape.channels;
      for (int64_t i = 0; i < count; ++i) most[i] = load(from[i]);
      for (int64_t row = rows.begin + 1; row < rows.end; ++row) {
        from += shape.width * shape.channels;
        for (int64_t i = 0; i < count; ++i) {
          const A value = load(from[i]);
          most[i] = exceeds(value, most[i]) ? value : most[i];
        }
      }
      std::fill_n(most + count, 16, A(0));
      const Columns columns{*this, most - begin * shape.channels};
      for (int64_t x = first; x <= last; ++x) for_each_block(columns, image, y, x, shape.channels, x < last);
    }
  }

 private:
  struct Columns {
    const MaxRowTask& task;
    const A* row;  ///< maxima of the rows, as if from the row's first input on

    template <int width>
    void block(int64_t image, int64_t y, int64_t x, int64_t channel) const {
      const int64_t channels = task.shape.channels;
      const Extent columns = inputs_of(x, task.shape, task.shape.width);
      const A* from = row + columns.begin * channels + channel;
      A most[width];
      for (int c = 0; c < width; ++c) most[c] = from[c];
      for (int64_t column = columns.begin + 1; column < columns.end; ++column) {
        from += channels;
#pragma omp simd
        for (int c = 0; c < width; ++c) most[c] = exceeds(from[c], most[c]) ? from[c] : most[c];
      }
      T* to = task.out + ((image * task.out_height + y) * task.out_width + x) * channels + channel;
      for (int c = 0; c < width; ++c) to[c] = store<T>(most[c]);
    }
  };
};

void check(const PoolShape& shape) {
  require(
      shape.kernel > 0 && shape.stride > 0 && shape.padding >= 0 && 2 * shape.padding <= shape.kernel &&
          shape.height + 2 * shape.padding >= shape.kernel && shape.width + 2 * shape.padding >= shape.kernel,
      "pooling of {}x{} with kernel {}, stride {}, padding {}: the window must fit, and padding be at most "
      "half of it",
      shape.height, shape.width, shape.kernel, shape.stride, shape.padding);
}

template <typename Body>
void for_each_pixel(Stream stream, const PoolShape& shape, int64_t height, int64_t width, const Body& body) {
  const int64_t row = width * shape.channels;
  for_each_index(stream, shape.batch * height * (on_cuda ? row : 1),
                 PixelTask<Body>{body, height, width, shape.channels}, row * shape.kernel);
}

void max_pool(Stream stream, const PoolShape& shape, const void* in, void* out, int64_t* index) {
  check(shape);
  dispatch_floating(shape.dtype, "max_pool", [&](auto zero) {
    using T = decltype(zero);
    const auto* from = static_cast<const T*>(in);
    auto* to = static_cast<T*>(out);
    const int64_t height = shape.out_height(), width = shape.out_width();
    if constexpr (!on_cuda) {
      const MaxRowTask<T> task{shape, height, width, from, to};
      if (index == nullptr && task.fitting() >= shape.kernel) {
        for_each_index(stream, shape.batch * height, task, width * shape.channels * shape.kernel);
        return;
      }
    }
    for_each_pixel(stream, shape, height, width, MaxForward<T>{shape, height, width, from, to, index});
  });
}

void average_pool(Stream stream, const PoolShape& shape, const void* in, void* out) {
  check(shape);
  dispatch_floating(shape.dtype, "average_pool", [&](auto zero) {
    using T = decltype(zero);
    for_each_pixel(stream, shape, shape.out_height(), shape.out_width(),
                   AverageForward<T>{shape, shape.out_height(), shape.out_width(), static_cast<const T*>(in),
                                     static_cast<T*>(out)});
  });
}

void max_pool_backward(Stream stream, const PoolShape& shape, const void* out_gradient, const int64_t* index,
                       void* in_gradient) {
  check(shape);
  dispatch_floating(shape.dtype, "max_pool_backward", [&](auto zero) {
    using T = decltype(zero);
    const auto* from = static_cast<const T*>(out_gradient);
    auto* to = static_cast<T*>(in_gradient);
    // Where sums are not made in T, each is rounded once, as only gathering can.
    if constexpr (!on_cuda && std::is_same_v<T, Arithmetic<T>>) {
      if (index != nullptr) {
        const int64_t out_pixels = shape.out_height() * shape.out_width();
        for_each_index(stream, shape.batch, ScatterBackward<T>{shape, out_pixels, from, index, to},
                       (shape.height * shape.width + out_pixels) * shape.channels);
        return;
      }
    }
    for_each_pixel(stream, shape, shape.height, shape.width,
                   GatherBackward<T>{shape, shape.out_height(), shape.out_width(), from, index, to});
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
