// Batch normalisation on the CPU, with ReLU and the additions of residual networks in the same passes. Floor,
// in times rows · channels · element size, each matrix once: forward 2 (input, output), an addend 2 more (1
// where its sum is not wanted), a residual 1; backward 3 (out_gradient, input, in_gradient), with a residual
// 5, adding to a gradient 1 more. Memory binds; training reads its input twice, backward also out_gradient.
// Second passes run backwards: they begin where the caches are warm.
//
// Rows are cut into chunks that fit the first-level cache, whose size depends on the shape alone; their sums
// are combined in order and in double, so the thread count changes no bit. Variances are taken around the
// mean of each chunk, so that inputs far from zero keep their precision.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/table.h"

namespace dw::cpu_backend {
namespace {

constexpr int64_t chunk_elements = 8192;
constexpr int64_t serial_elements = 16384;  ///< below this, waking the other threads costs more than it saves

/// Channels that are treated together: `capacity` of them, known to the compiler, or fewer.
template <int most, bool exact>
struct Width {
  static constexpr int capacity = most;
  int64_t count = most;
  constexpr operator int64_t() const { return exact ? most : count; }
};

enum class Order : uint8_t { forwards, backwards };

struct Chunks {
  explicit Chunks(const BatchNormShape& shape)
      : rows(shape.rows),
        channels(shape.channels),
        chunk_rows(std::max<int64_t>(chunk_elements / std::max<int64_t>(channels, 1), 16)),
        count((rows + chunk_rows - 1) / chunk_rows) {}

  int64_t rows_in(int64_t chunk) const { return std::min(chunk_rows, rows - chunk * chunk_rows); }

  /// Calls body(chunk, first channel, width) for every chunk and tile of channels; a thread has the same
  /// chunks in either order. Few channels fit in registers; of many, long tiles keep the reads in order.
  template <typename Body>
  void for_each_tile(Order order, Body&& body) const {
#pragma omp parallel if (rows * channels > serial_elements)
    {
      const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
      const int64_t begin = thread * count / threads, end = (thread + 1) * count / threads;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t chunk = order == Order::forwards ? i : begin + end - 1 - i;
        if (channels == 16)
          body(chunk, 0, Width<16, true>{});
        else if (channels == 32)
          body(chunk, 0, Width<32, true>{});
        else if (channels == 64)
          body(chunk, 0, Width<64, true>{});
        else
          for (int64_t channel = 0; channel < channels; channel += 512)
            body(chunk, channel, Width<512, false>{std::min<int64_t>(512, channels - channel)});
      }
    }
  }

  /// Calls body(first channel, width) for blocks of channels.
  template <typename Body>
  void for_each_channel_block(Body&& body) const {
    constexpr int64_t block = 64;
#pragma omp parallel for if (channels > block && count * channels > 2 * serial_elements)
    for (int64_t channel = 0; channel < channels; channel += block)
      body(channel, Width<block, false>{std::min(block, channels - channel)});
  }

  int64_t rows, channels, chunk_rows, count;
};

/// Two sums of every chunk and channel, or its mean and the squared distances from it.
class Partials {
 public:
  explicit Partials(const Chunks& chunks)
      : channels_(chunks.channels),
        size_(chunks.count * chunks.channels),
        memory_(cpu, static_cast<size_t>(2 * size_) * sizeof(double)) {}
  double* first(int64_t chunk) const { return static_cast<double*>(memory_.data()) + chunk * channels_; }
  double* second(int64_t chunk) const { return first(chunk) + size_; }

 private:
  int64_t channels_, size_;
  Buffer memory_;
};

/// Values of the channels of a tile, copied so that the compiler knows nothing else changes them.
template <typename T, typename TileWidth>
struct Local {
  T value[TileWidth::capacity];
  Local(TileWidth width, const T* from) { std::copy_n(from, static_cast<int64_t>(width), value); }
  T operator[](int64_t c) const { return value[c]; }
};

/// A [channels] vector of our own.
template <typename T>
class ChannelVector {
 public:
  explicit ChannelVector(int64_t channels) : memory_(cpu, static_cast<size_t>(channels) * sizeof(T)) {}
  T* data() const { return static_cast<T*>(memory_.data()); }

 private:
  Buffer memory_;
};

template <typename T>
T normalised(T value, T mean, T scale, T bias) {
  return (value - mean) * scale + bias;
}

/// Mean and squared distances of a chunk of in + addend, which goes to `sum`; without an addend, of `in`.
template <bool adding, typename T, typename TileWidth>
void chunk_statistics(TileWidth width, int64_t rows, int64_t channels, const T* in, const T* addend, T* sums,
                      double* means, double* squares) {
  T total[width.capacity] = {}, centre[width.capacity], distance[width.capacity] = {},
    square[width.capacity] = {};
  for (int64_t row = 0; row < rows; ++row)
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) {
      T value = in[row * channels + c];
      if constexpr (adding) sums[row * channels + c] = value += addend[row * channels + c];
      total[c] += value;
    }
  if constexpr (adding) in = sums;
  for (int64_t c = 0; c < width; ++c) centre[c] = total[c] / static_cast<T>(rows);
  for (int64_t row = 0; row < rows; ++row)
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) {
      const T difference = in[row * channels + c] - centre[c];
      distance[c] += difference;
      square[c] += difference * difference;
    }
  for (int64_t c = 0; c < width; ++c) {
    const double offset = static_cast<double>(distance[c]) / static_cast<double>(rows);
    means[c] = static_cast<double>(centre[c]) + offset;
    squares[c] = static_cast<double>(square[c]) - offset * static_cast<double>(distance[c]);
  }
}

/// What is added before: nothing, or an addend, of which the sum is kept or not.
enum class Before : uint8_t { nothing, addend, addend_kept };

/// out = (in + addend - mean) · scale + bias + residual, then ReLU.
template <Before before, bool adding, typename T>
void normalise(const BatchNormShape& shape, Order order, const BatchNormForward& memory, const T* means,
               const T* scales) {
  const auto *in = static_cast<const T*>(memory.in), *addend = static_cast<const T*>(memory.addend);
  const auto *biases = static_cast<const T*>(memory.bias), *residual = static_cast<const T*>(memory.residual);
  auto *sum = static_cast<T*>(memory.sum), *out = static_cast<T*>(memory.out);
  const Chunks chunks(shape);
  const T floor = shape.relu ? T{0} : -std::numeric_limits<T>::infinity();
  chunks.for_each_tile(order, [&](int64_t chunk, int64_t channel, auto width) {
    const Local mean(width, means + channel), scale(width, scales + channel), bias(width, biases + channel);
    const int64_t begin = chunk * chunks.chunk_rows * chunks.channels + channel;
    const int64_t end = begin + chunks.rows_in(chunk) * chunks.channels;
    for (int64_t at = begin; at < end; at += chunks.channels)
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) {
        T value = in[at + c];
        if constexpr (before != Before::nothing) value += addend[at + c];
        if constexpr (before == Before::addend_kept) sum[at + c] = value;
        value = normalised(value, mean[c], scale[c], bias[c]);
        if constexpr (adding) value += residual[at + c];
        out[at + c] = value < floor ? floor : value;
      }
  });
}

template <Before before, typename T>
void normalise(const BatchNormShape& shape, Order order, const BatchNormForward& memory, const T* means,
               const T* scales) {
  (memory.residual != nullptr ? normalise<before, true, T>
                              : normalise<before, false, T>)(shape, order, memory, means, scales);
}

template <typename T>
void training(const BatchNormShape& shape, const BatchNormForward& memory) {
  const auto* in = static_cast<const T*>(memory.in);
  const auto* addend = static_cast<const T*>(memory.addend);
  auto* sum = static_cast<T*>(memory.sum);
  const Chunks chunks(shape);
  const Partials partials(chunks);
  chunks.for_each_tile(Order::forwards, [&](int64_t chunk, int64_t channel, auto width) {
    const int64_t at = chunk * chunks.chunk_rows * shape.channels + channel;
    double *means = partials.first(chunk) + channel, *squares = partials.second(chunk) + channel;
    if (addend != nullptr)
      chunk_statistics<true>(width, chunks.rows_in(chunk), shape.channels, in + at, addend + at, sum + at,
                             means, squares);
    else
      chunk_statistics<false, T>(width, chunks.rows_in(chunk), shape.channels, in + at, nullptr, nullptr,
                                 means, squares);
  });

  const auto rows = static_cast<double>(shape.rows);
  const ChannelVector<T> scale(shape.channels);
  auto* saved_mean = static_cast<T*>(memory.saved_mean);
  chunks.for_each_channel_block([&](int64_t first, auto width) {
    double mean[width.capacity] = {}, squares[width.capacity] = {};
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk)
      for (int64_t c = 0; c < width; ++c)
        mean[c] += partials.first(chunk)[first + c] * static_cast<double>(chunks.rows_in(chunk));
    for (int64_t c = 0; c < width; ++c) mean[c] /= rows;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk)
      for (int64_t c = 0; c < width; ++c) {
        const double distance = partials.first(chunk)[first + c] - mean[c];
        squares[c] += partials.second(chunk)[first + c] +
                      distance * distance * static_cast<double>(chunks.rows_in(chunk));
      }
    for (int64_t c = 0; c < width; ++c) {
      const int64_t channel = first + c;
      const auto inverse_deviation = static_cast<T>(1 / std::sqrt(squares[c] / rows + shape.epsilon));
      const auto update = [&](void* statistics, double value) {
        T& running = static_cast<T*>(statistics)[channel];
        running =
            static_cast<T>((1 - shape.momentum) * static_cast<double>(running) + shape.momentum * value);
      };
      update(memory.running_mean, mean[c]);
      update(memory.running_variance, squares[c] / (rows - 1));
      saved_mean[channel] = static_cast<T>(mean[c]);
      static_cast<T*>(memory.saved_inverse_deviation)[channel] = inverse_deviation;
      scale.data()[channel] = static_cast<const T*>(memory.weight)[channel] * inverse_deviation;
    }
  });
  BatchNormForward summed = memory;
  if (addend != nullptr) summed.in = sum;
  normalise<Before::nothing>(shape, Order::backwards, summed, saved_mean, scale.data());
}

template <typename T>
void inference(const BatchNormShape& shape, const BatchNormForward& memory) {
  const ChannelVector<T> scale(shape.channels);
  for (int64_t channel = 0; channel < shape.channels; ++channel)
    scale.data()[channel] = static_cast<T>(
        static_cast<double>(static_cast<const T*>(memory.weight)[channel]) /
        std::sqrt(static_cast<double>(static_cast<const T*>(memory.running_variance)[channel]) +
                  shape.epsilon));
  const auto* mean = static_cast<const T*>(memory.running_mean);
  (memory.addend == nullptr ? normalise<Before::nothing, T>
   : memory.sum == nullptr
       ? normalise<Before::addend, T>
       : normalise<Before::addend_kept, T>)(shape, Order::forwards, memory, mean, scale.data());
}

/// What stops the gradient on its way to the normalised values: nothing, or a ReLU that was shut, as the
/// normalised value tells, or the output where a residual was added.
enum class Gate : uint8_t { open, by_input, by_output };

/// What the two passes over the gradients share. `gradient` is what comes in; what passes the gate goes to
/// `passed` when the output decides, so that the second pass need not look at the output.
template <typename T>
struct BackwardMemory {
  const T *gradient, *in, *out, *mean, *scale, *bias;
  T* passed;
};

/// Sums of the gradient, and of the gradient times the distance from the mean.
template <Gate gate, typename T>
void gradient_sums(const Chunks& chunks, const BackwardMemory<T>& m, const Partials& partials) {
  chunks.for_each_tile(Order::forwards, [&](int64_t chunk, int64_t channel, auto width) {
    const Local mean(width, m.mean + channel), scale(width, m.scale + channel), bias(width, m.bias + channel);
    T sum[width.capacity] = {}, product[width.capacity] = {};
    const int64_t begin = chunk * chunks.chunk_rows * chunks.channels + channel;
    const int64_t end = begin + chunks.rows_in(chunk) * chunks.channels;
    for (int64_t at = begin; at < end; at += chunks.channels)
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) {
        T gradient = m.gradient[at + c];
        const T in = m.in[at + c];
        if constexpr (gate == Gate::by_input)
          gradient = normalised(in, mean[c], scale[c], bias[c]) > 0 ? gradient : T{0};
        if constexpr (gate == Gate::by_output)
          m.passed[at + c] = gradient = m.out[at + c] > 0 ? gradient : T{0};
        sum[c] += gradient;
        product[c] += gradient * (in - mean[c]);
      }
    for (int64_t c = 0; c < width; ++c) {
      partials.first(chunk)[channel + c] = static_cast<double>(sum[c]);
      partials.second(chunk)[channel + c] = static_cast<double>(product[c]);
    }
  });
}

/// in_gradient = so_far + scale · (gradient − average − distance from the mean · slope).
template <Gate gate, bool adding, typename T>
void in_gradients(const Chunks& chunks, const BackwardMemory<T>& m, const T* averages, const T* slopes,
                  const T* so_far, T* in_gradient) {
  chunks.for_each_tile(Order::backwards, [&](int64_t chunk, int64_t channel, auto width) {
    const Local mean(width, m.mean + channel), scale(width, m.scale + channel), bias(width, m.bias + channel);
    const Local average(width, averages + channel), slope(width, slopes + channel);
    const int64_t begin = chunk * chunks.chunk_rows * chunks.channels + channel;
    const int64_t end = begin + chunks.rows_in(chunk) * chunks.channels;
    for (int64_t at = begin; at < end; at += chunks.channels)
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) {
        T gradient = m.gradient[at + c];
        const T in = m.in[at + c];
        if constexpr (gate == Gate::by_input)
          gradient = normalised(in, mean[c], scale[c], bias[c]) > 0 ? gradient : T{0};
        T result = scale[c] * (gradient - average[c] - (in - mean[c]) * slope[c]);
        if constexpr (adding) result += so_far[at + c];
        in_gradient[at + c] = result;
      }
  });
}

template <typename T>
void backward(const BatchNormShape& shape, const BatchNormBackward& memory) {
  const Chunks chunks(shape);
  const auto* weight = static_cast<const T*>(memory.weight);
  const auto* inverse_deviation = static_cast<const T*>(memory.saved_inverse_deviation);
  const ChannelVector<T> scale(shape.channels), average(shape.channels), slope(shape.channels);
  for (int64_t channel = 0; channel < shape.channels; ++channel)
    scale.data()[channel] = weight[channel] * inverse_deviation[channel];
  BackwardMemory<T> m{static_cast<const T*>(memory.out_gradient),
                      static_cast<const T*>(memory.in),
                      static_cast<const T*>(memory.out),
                      static_cast<const T*>(memory.saved_mean),
                      scale.data(),
                      static_cast<const T*>(memory.bias),
                      static_cast<T*>(memory.residual_gradient)};
  const bool by_output = memory.residual_gradient != nullptr, by_input = shape.relu && !by_output;
  const Partials partials(chunks);
  (by_output  ? gradient_sums<Gate::by_output, T>
   : by_input ? gradient_sums<Gate::by_input, T>
              : gradient_sums<Gate::open, T>)(chunks, m, partials);

  const auto rows = static_cast<double>(shape.rows);
  chunks.for_each_channel_block([&](int64_t first, auto width) {
    double sum[width.capacity] = {}, product[width.capacity] = {};
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk)
      for (int64_t c = 0; c < width; ++c) {
        sum[c] += partials.first(chunk)[first + c];
        product[c] += partials.second(chunk)[first + c];
      }
    for (int64_t c = 0; c < width; ++c) {
      const int64_t channel = first + c;
      const auto inverse = static_cast<double>(inverse_deviation[channel]);
      static_cast<T*>(memory.weight_gradient)[channel] = static_cast<T>(product[c] * inverse);
      static_cast<T*>(memory.bias_gradient)[channel] = static_cast<T>(sum[c]);
      average.data()[channel] = static_cast<T>(sum[c] / rows);
      slope.data()[channel] = static_cast<T>(product[c] / rows * inverse * inverse);
    }
  });

  if (by_output) m.gradient = m.passed;
  const auto* so_far = static_cast<const T*>(memory.in_gradient_so_far);
  const auto run =
      by_input ? (so_far != nullptr ? in_gradients<Gate::by_input, true, T>
                                    : in_gradients<Gate::by_input, false, T>)
               : (so_far != nullptr ? in_gradients<Gate::open, true, T> : in_gradients<Gate::open, false, T>);
  run(chunks, m, average.data(), slope.data(), so_far, static_cast<T*>(memory.in_gradient));
}

void require_rows(const BatchNormShape& shape) {
  require(shape.rows > 1,
          "batch norm in training expects more than one value per channel, found {} for {} channels",
          shape.rows, shape.channels);
}

void batch_norm_training(Stream, const BatchNormShape& shape, const BatchNormForward& memory) {
  require_rows(shape);
  dispatch_float_double(shape.dtype, "batch norm on the CPU",
                        [&](auto zero) { training<decltype(zero)>(shape, memory); });
}

void batch_norm_inference(Stream, const BatchNormShape& shape, const BatchNormForward& memory) {
  dispatch_float_double(shape.dtype, "batch norm on the CPU",
                        [&](auto zero) { inference<decltype(zero)>(shape, memory); });
}

void batch_norm_backward(Stream, const BatchNormShape& shape, const BatchNormBackward& memory) {
  require_rows(shape);
  dispatch_float_double(shape.dtype, "batch norm on the CPU",
                        [&](auto zero) { backward<decltype(zero)>(shape, memory); });
}

}  // namespace

void add_batch_norm(KernelTable& table) {
  table.batch_norm_training = batch_norm_training;
  table.batch_norm_inference = batch_norm_inference;
  table.batch_norm_backward = batch_norm_backward;
}

}  // namespace dw::cpu_backend
