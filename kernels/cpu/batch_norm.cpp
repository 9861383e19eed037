// Batch normalisation on the CPU, with ReLU in the same pass. The work is bound by memory: training reads the
// input twice and writes once. Rows are cut into chunks that fit the first-level cache, whose size depends on
// the shape alone; their sums are combined in order and in double, so the thread count changes no bit.
// Variances are taken around the mean of each chunk, so that inputs far from zero keep their precision.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

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

struct Chunks {
  explicit Chunks(const BatchNormShape& shape)
      : rows(shape.rows),
        channels(shape.channels),
        chunk_rows(std::max<int64_t>(chunk_elements / std::max<int64_t>(channels, 1), 16)),
        count((rows + chunk_rows - 1) / chunk_rows) {}

  int64_t rows_in(int64_t chunk) const { return std::min(chunk_rows, rows - chunk * chunk_rows); }

  /// Calls body(chunk, first channel, width) for every chunk and tile of channels. Few channels fit in
  /// registers; of many, long tiles keep the reads in order.
  template <typename Body>
  void for_each_tile(Body&& body) const {
#pragma omp parallel for schedule(static) if (rows * channels > serial_elements)
    for (int64_t chunk = 0; chunk < count; ++chunk) {
      if (channels == 16)
        body(chunk, 0, Width<16, true>{});
      else if (channels == 32)
        body(chunk, 0, Width<32, true>{});
      else
        for (int64_t channel = 0; channel < channels; channel += 512)
          body(chunk, channel, Width<512, false>{std::min<int64_t>(512, channels - channel)});
    }
  }

  int64_t rows, channels, chunk_rows, count;
};

/// Two sums of a chunk in one channel, or its mean and the squared distances from it.
struct Partial {
  double first = 0, second = 0;
};

template <typename T, typename TileWidth>
void chunk_statistics(TileWidth width, int64_t rows, int64_t channels, const T* in, Partial* partials) {
  T sum[width.capacity] = {}, centre[width.capacity], distance[width.capacity] = {},
    square[width.capacity] = {};
  for (int64_t row = 0; row < rows; ++row)
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) sum[c] += in[row * channels + c];
  for (int64_t c = 0; c < width; ++c) centre[c] = sum[c] / static_cast<T>(rows);
  for (int64_t row = 0; row < rows; ++row)
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) {
      const T difference = in[row * channels + c] - centre[c];
      distance[c] += difference;
      square[c] += difference * difference;
    }
  for (int64_t c = 0; c < width; ++c) {
    const double offset = static_cast<double>(distance[c]) / static_cast<double>(rows);
    partials[c] = {static_cast<double>(centre[c]) + offset,
                   static_cast<double>(square[c]) - offset * static_cast<double>(distance[c])};
  }
}

/// out = (in - mean) · scale + bias, then ReLU.
template <typename T>
void normalise(const BatchNormShape& shape, const T* in, const T* means, const T* scales, const T* biases,
               T* out) {
  const Chunks chunks(shape);
  const T floor = shape.relu ? T{0} : -std::numeric_limits<T>::infinity();
  chunks.for_each_tile([&](int64_t chunk, int64_t channel, auto width) {
    T mean[width.capacity], scale[width.capacity], bias[width.capacity];
    std::copy_n(means + channel, static_cast<int64_t>(width), mean);
    std::copy_n(scales + channel, static_cast<int64_t>(width), scale);
    std::copy_n(biases + channel, static_cast<int64_t>(width), bias);
    const int64_t begin = chunk * chunks.chunk_rows * chunks.channels + channel;
    const int64_t end = begin + chunks.rows_in(chunk) * chunks.channels;
    for (int64_t at = begin; at < end; at += chunks.channels)
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) {
        const T value = (in[at + c] - mean[c]) * scale[c] + bias[c];
        out[at + c] = value < floor ? floor : value;
      }
  });
}

template <typename T>
void training(const BatchNormShape& shape, const T* in, const T* weight, const T* bias, T* running_mean,
              T* running_variance, T* out, T* saved_mean, T* saved_inverse_deviation) {
  const Chunks chunks(shape);
  std::vector<Partial> partials(static_cast<size_t>(chunks.count * shape.channels));
  chunks.for_each_tile([&](int64_t chunk, int64_t channel, auto width) {
    chunk_statistics(width, chunks.rows_in(chunk), shape.channels,
                     in + chunk * chunks.chunk_rows * shape.channels + channel,
                     partials.data() + chunk * shape.channels + channel);
  });

  const auto rows = static_cast<double>(shape.rows);
  std::vector<T> scale(static_cast<size_t>(shape.channels));
#pragma omp parallel for if (chunks.count * shape.channels > serial_elements)
  for (int64_t channel = 0; channel < shape.channels; ++channel) {
    const auto partial = [&](int64_t chunk) -> const Partial& {
      return partials[static_cast<size_t>(chunk * shape.channels + channel)];
    };
    double mean = 0, squares = 0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk)
      mean += partial(chunk).first * static_cast<double>(chunks.rows_in(chunk));
    mean /= rows;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      const double distance = partial(chunk).first - mean;
      squares += partial(chunk).second + distance * distance * static_cast<double>(chunks.rows_in(chunk));
    }
    const double inverse_deviation = 1 / std::sqrt(squares / rows + shape.epsilon);
    const auto update = [&](T& running, double value) {
      running = static_cast<T>((1 - shape.momentum) * static_cast<double>(running) + shape.momentum * value);
    };
    update(running_mean[channel], mean);
    update(running_variance[channel], squares / (rows - 1));
    saved_mean[channel] = static_cast<T>(mean);
    saved_inverse_deviation[channel] = static_cast<T>(inverse_deviation);
    scale[static_cast<size_t>(channel)] =
        static_cast<T>(static_cast<double>(weight[channel]) * inverse_deviation);
  }
  normalise(shape, in, saved_mean, scale.data(), bias, out);
}

template <typename T>
void inference(const BatchNormShape& shape, const T* in, const T* weight, const T* bias,
               const T* running_mean, const T* running_variance, T* out) {
  std::vector<T> scale(static_cast<size_t>(shape.channels));
  for (int64_t channel = 0; channel < shape.channels; ++channel)
    scale[static_cast<size_t>(channel)] =
        static_cast<T>(static_cast<double>(weight[channel]) /
                       std::sqrt(static_cast<double>(running_variance[channel]) + shape.epsilon));
  normalise(shape, in, running_mean, scale.data(), bias, out);
}

template <typename T, bool relu>
void backward(const BatchNormShape& shape, const T* out_gradient, const T* in, const T* out, const T* weight,
              const T* saved_mean, const T* saved_inverse_deviation, T* in_gradient, T* weight_gradient,
              T* bias_gradient) {
  const Chunks chunks(shape);
  const auto gradient_at = [=](int64_t at) {
    const T gradient = out_gradient[at];  // read in any case, so that the choice needs no branch
    if constexpr (relu)
      return out[at] > 0 ? gradient : T{0};
    else
      return gradient;
  };

  // Sums of the gradient, and of the gradient times the distance from the mean.
  std::vector<Partial> partials(static_cast<size_t>(chunks.count * shape.channels));
  chunks.for_each_tile([&](int64_t chunk, int64_t channel, auto width) {
    T mean[width.capacity], sum[width.capacity] = {}, product[width.capacity] = {};
    std::copy_n(saved_mean + channel, static_cast<int64_t>(width), mean);
    const int64_t begin = chunk * chunks.chunk_rows * shape.channels + channel;
    const int64_t end = begin + chunks.rows_in(chunk) * shape.channels;
    for (int64_t at = begin; at < end; at += shape.channels)
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) {
        const T gradient = gradient_at(at + c);
        sum[c] += gradient;
        product[c] += gradient * (in[at + c] - mean[c]);
      }
    for (int64_t c = 0; c < width; ++c)
      partials[static_cast<size_t>(chunk * shape.channels + channel + c)] = {static_cast<double>(sum[c]),
                                                                             static_cast<double>(product[c])};
  });

  const auto rows = static_cast<double>(shape.rows);
  const auto channel_count = static_cast<size_t>(shape.channels);
  std::vector<T> scales(channel_count), averages(channel_count), slopes(channel_count);
#pragma omp parallel for if (chunks.count * shape.channels > serial_elements)
  for (int64_t channel = 0; channel < shape.channels; ++channel) {
    const auto i = static_cast<size_t>(channel);
    Partial total;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      const Partial& partial = partials[static_cast<size_t>(chunk * shape.channels + channel)];
      total.first += partial.first;
      total.second += partial.second;
    }
    const auto inverse_deviation = static_cast<double>(saved_inverse_deviation[channel]);
    weight_gradient[channel] = static_cast<T>(total.second * inverse_deviation);
    bias_gradient[channel] = static_cast<T>(total.first);
    scales[i] = static_cast<T>(static_cast<double>(weight[channel]) * inverse_deviation);
    averages[i] = static_cast<T>(total.first / rows);
    slopes[i] = static_cast<T>(total.second / rows * inverse_deviation * inverse_deviation);
  }

  chunks.for_each_tile([&](int64_t chunk, int64_t channel, auto width) {
    T mean[width.capacity], scale[width.capacity], average[width.capacity], slope[width.capacity];
    std::copy_n(saved_mean + channel, static_cast<int64_t>(width), mean);
    std::copy_n(scales.data() + channel, static_cast<int64_t>(width), scale);
    std::copy_n(averages.data() + channel, static_cast<int64_t>(width), average);
    std::copy_n(slopes.data() + channel, static_cast<int64_t>(width), slope);
    const int64_t begin = chunk * chunks.chunk_rows * shape.channels + channel;
    const int64_t end = begin + chunks.rows_in(chunk) * shape.channels;
    for (int64_t at = begin; at < end; at += shape.channels)
#pragma omp simd
      for (int64_t c = 0; c < width; ++c)
        in_gradient[at + c] =
            scale[c] * (gradient_at(at + c) - average[c] - (in[at + c] - mean[c]) * slope[c]);
  });
}

void batch_norm_training(Stream, const BatchNormShape& shape, const void* in, const void* weight,
                         const void* bias, void* running_mean, void* running_variance, void* out,
                         void* saved_mean, void* saved_inverse_deviation) {
  require(shape.rows > 1,
          "batch norm in training expects more than one value per channel, found {} for {} channels",
          shape.rows, shape.channels);
  dispatch_float_double(shape.dtype, "batch norm on the CPU", [&](auto zero) {
    using T = decltype(zero);
    training(shape, static_cast<const T*>(in), static_cast<const T*>(weight), static_cast<const T*>(bias),
             static_cast<T*>(running_mean), static_cast<T*>(running_variance), static_cast<T*>(out),
             static_cast<T*>(saved_mean), static_cast<T*>(saved_inverse_deviation));
  });
}

void batch_norm_inference(Stream, const BatchNormShape& shape, const void* in, const void* weight,
                          const void* bias, const void* running_mean, const void* running_variance,
                          void* out) {
  dispatch_float_double(shape.dtype, "batch norm on the CPU", [&](auto zero) {
    using T = decltype(zero);
    inference(shape, static_cast<const T*>(in), static_cast<const T*>(weight), static_cast<const T*>(bias),
              static_cast<const T*>(running_mean), static_cast<const T*>(running_variance),
              static_cast<T*>(out));
  });
}

void batch_norm_backward(Stream, const BatchNormShape& shape, const void* out_gradient, const void* in,
                         const void* out, const void* weight, const void* saved_mean,
                         const void* saved_inverse_deviation, void* in_gradient, void* weight_gradient,
                         void* bias_gradient) {
  require(shape.rows > 1,
          "batch norm in training expects more than one value per channel, found {} for {} channels",
          shape.rows, shape.channels);
  dispatch_float_double(shape.dtype, "batch norm on the CPU", [&](auto zero) {
    using T = decltype(zero);
    const auto run = shape.relu ? backward<T, true> : backward<T, false>;
    run(shape, static_cast<const T*>(out_gradient), static_cast<const T*>(in), static_cast<const T*>(out),
        static_cast<const T*>(weight), static_cast<const T*>(saved_mean),
        static_cast<const T*>(saved_inverse_deviation), static_cast<T*>(in_gradient),
        static_cast<T*>(weight_gradient), static_cast<T*>(bias_gradient));
  });
}

}  // namespace

void add_batch_norm(KernelTable& table) {
  table.batch_norm_training = batch_norm_training;
  table.batch_norm_inference = batch_norm_inference;
  table.batch_norm_backward = batch_norm_backward;
}

}  // namespace dw::cpu_backend
