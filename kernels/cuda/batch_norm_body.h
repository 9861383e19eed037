// Batch normalisation of a channels-last [rows, channels] matrix as block-cooperative bodies: the reductions
// combine in an order that depends on the shape alone, without atomics. Written against the block executor so
// that tests run the same code on the CPU; the CPU itself trains with cpu/batch_norm.cpp.
#pragma once

#include <cmath>
#include <type_traits>

#include "kernels/cuda/row_tiles.h"
#include "kernels/dtype.h"

namespace dw::DEEPWATER_BACKEND {

/// Statistics, parameters and sums: f64 for f64 data, else f32.
template <typename T>
using ParameterOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Count, mean and sum of squared distances from the mean of some values (Welford 1962).
template <typename A>
struct Moments {
  A count = 0, mean = 0, square = 0;

  /// Moments of both sets together (Chan, Golub, LeVeque 1979).
  HD void merge(const Moments& other) {
    if (other.count == 0) return;
    const A total = count + other.count, share = other.count / total;
    const A distance = other.mean - mean;
    mean += distance * share;
    square += other.square + distance * distance * count * share;
    count = total;
  }
};

/// Two sums; merges like Moments.
template <typename A>
struct SumPair {
  A first = 0, second = 0;
  HD void merge(const SumPair& other) {
    first += other.first;
    second += other.second;
  }
};

/// A matrix, or where there is an addend in + addend, which goes to `sum` unless that is null.
template <typename T, int width>
struct SummedInput {
  const T *in, *addend;
  T* sum;

  HD Pack<T, width> read(int64_t at) const {
    using A = ParameterOf<T>;
    auto value = *reinterpret_cast<const Pack<T, width>*>(in + at);
    if (addend == nullptr) return value;
    const auto other = *reinterpret_cast<const Pack<T, width>*>(addend + at);
    for (int c = 0; c < width; ++c)
      value.value[c] = static_cast<T>(static_cast<A>(value.value[c]) + static_cast<A>(other.value[c]));
    if (sum != nullptr) *reinterpret_cast<Pack<T, width>*>(sum + at) = value;
    return value;
  }
};

/// Partial moments of every channel in every chunk: out[chunk · channels + channel].
template <typename T, int width>
struct MomentsBody {
  using A = ParameterOf<T>;
  struct Shared {
    Moments<A> entry[block_lanes * width];
  };
  RowTiles tiles;
  SummedInput<T, width> input;
  Moments<A>* out;

  HD void operator()(const Block& block, int64_t index, Shared& shared) const {
    block.each(block_lanes, [&](int64_t lane) {
      const LanePlace<width> place(tiles, index, lane);
      Moments<A> moments[width];
      for (int64_t row = place.row; place.active && row < place.row_end; row += rows_at_once * tiles.slots)
        add_rows(place, row, moments);
      for (int c = 0; c < width; ++c) shared.entry[lane * width + c] = moments[c];
    });
    merge_slots<width>(block, index, tiles, shared.entry, out);
  }

 private:
  /// Exact moments of the next few rows, merged: a mean far from zero costs no precision.
  HD void add_rows(const LanePlace<width>& place, int64_t row, Moments<A> (&moments)[width]) const {
    Pack<T, width> loaded[rows_at_once] = {};
    int count = 0;
    for (int u = 0; u < rows_at_once; ++u)
      if (row + u * tiles.slots < place.row_end) {
        loaded[u] = input.read((row + u * tiles.slots) * tiles.channels + place.channel);
        ++count;
      }
    for (int c = 0; c < width; ++c) {
      Moments<A> few{static_cast<A>(count), 0, 0};
      for (int u = 0; u < rows_at_once; ++u)
        if (u < count) few.mean += static_cast<A>(loaded[u].value[c]);
      few.mean /= few.count;
      for (int u = 0; u < rows_at_once; ++u)
        if (u < count) {
          const A distance = static_cast<A>(loaded[u].value[c]) - few.mean;
          few.square += distance * distance;
        }
      moments[c].merge(few);
    }
  }
};

/// The batch's statistics for the passes that follow, and the running ones (unless null).
template <typename A>
struct FinishMomentsBody {
  struct Shared {
    Moments<A> entry[block_lanes];
  };
  RowTiles tiles;
  const Moments<A>* partial;
  A epsilon, momentum;
  A *mean, *inverse_deviation, *running_mean, *running_variance;

  HD void operator()(const Block& block, int64_t index, Shared& shared) const {
    finish_chunks(block, index, shared.entry, tiles, partial, [&](int64_t channel, const Moments<A>& total) {
      const A variance = total.count > 0 ? total.square / total.count : 0;
      mean[channel] = total.mean;
      inverse_deviation[channel] = 1 / std::sqrt(variance + epsilon);
      if (!running_mean) return;
      const A unbiased = total.count > 1 ? total.square / (total.count - 1) : variance;
      running_mean[channel] += momentum * (total.mean - running_mean[channel]);
      running_variance[channel] += momentum * (unbiased - running_variance[channel]);
    });
  }
};

/// out = (input - mean) · weight · inverse_deviation + bias + residual (unless null), then ReLU. The
/// deviation comes from `variance` where that is given (inference). `out` may be the input.
template <typename T, int width>
struct NormaliseBody {
  using A = ParameterOf<T>;
  struct Shared {};
  RowTiles tiles;
  SummedInput<T, width> input;
  const A *mean, *inverse_deviation, *variance, *weight, *bias;
  A epsilon;
  const T* residual;
  bool relu;
  T* out;

  HD void operator()(const Block& block, int64_t index, Shared&) const {
    block.each(block_lanes, [&](int64_t lane) {
      const LanePlace<width> place(tiles, index, lane);
      if (!place.active) return;
      A centre[width], scale[width], shift[width];
      for (int c = 0; c < width; ++c) {
        const int64_t channel = place.channel + c;
        centre[c] = mean[channel];
        scale[c] = weight[channel] *
                   (variance ? 1 / std::sqrt(variance[channel] + epsilon) : inverse_deviation[channel]);
        shift[c] = bias[channel];
      }
      for (int64_t row = place.row; row < place.row_end; row += rows_at_once * tiles.slots) {
        Pack<T, width> pack[rows_at_once] = {}, added[rows_at_once] = {};
        for (int u = 0; u < rows_at_once; ++u)
          if (row + u * tiles.slots < place.row_end) {
            pack[u] = input.read(offset(place, row, u));
            if (residual)
              added[u] = *reinterpret_cast<const Pack<T, width>*>(residual + offset(place, row, u));
          }
        for (int u = 0; u < rows_at_once; ++u) {
          if (row + u * tiles.slots >= place.row_end) break;
          for (int c = 0; c < width; ++c) {
            A value = (static_cast<A>(pack[u].value[c]) - centre[c]) * scale[c] + shift[c];
            if (residual) value += static_cast<A>(added[u].value[c]);
            pack[u].value[c] = static_cast<T>(relu && value < 0 ? A{0} : value);
          }
          *reinterpret_cast<Pack<T, width>*>(out + offset(place, row, u)) = pack[u];
        }
      }
    });
  }

 private:
  HD int64_t offset(const LanePlace<width>& place, int64_t row, int u) const {
    return (row + u * tiles.slots) * tiles.channels + place.channel;
  }
};

/// What stops the gradient on its way to the normalised values: nothing, or a ReLU that was shut, as the
/// normalised value tells, or the output where a residual was added.
enum class Gate : uint8_t { open, by_input, by_output };

/// What both gradient passes read: the gradient behind the gate and the distance from the mean.
template <typename T, int width>
struct GradientInput {
  using A = ParameterOf<T>;
  const T *out_gradient, *in, *out;
  const A *mean, *inverse_deviation, *weight, *bias;
  Gate gate;

  HD void load(int64_t offset, int64_t channel, A (&gradient)[width], A (&distance)[width]) const {
    using P = Pack<T, width>;
    const P from = *reinterpret_cast<const P*>(out_gradient + offset);
    const P value = *reinterpret_cast<const P*>(in + offset);
    P result{};
    if (gate == Gate::by_output) result = *reinterpret_cast<const P*>(out + offset);
    for (int c = 0; c < width; ++c) {
      distance[c] = static_cast<A>(value.value[c]) - mean[channel + c];
      const A scale = weight[channel + c] * inverse_deviation[channel + c];
      const A output =
          gate == Gate::by_output ? static_cast<A>(result.value[c]) : distance[c] * scale + bias[channel + c];
      gradient[c] = gate == Gate::open || output > 0 ? static_cast<A>(from.value[c]) : A{0};
    }
  }
};

/// Partial sums of the gradient, and of the gradient times the distance from the mean. The gradient behind
/// the gate goes to `passed` unless that is null.
template <typename T, int width>
struct GradientSumsBody {
  using A = ParameterOf<T>;
  struct Shared {
    SumPair<A> entry[block_lanes * width];
  };
  RowTiles tiles;
  GradientInput<T, width> input;
  T* passed;
  SumPair<A>* out;

  HD void operator()(const Block& block, int64_t index, Shared& shared) const {
    block.each(block_lanes, [&](int64_t lane) {
      const LanePlace<width> place(tiles, index, lane);
      SumPair<A> sums[width];
      for (int64_t row = place.row; place.active && row < place.row_end; row += tiles.slots) {
        const int64_t offset = row * tiles.channels + place.channel;
        A gradient[width], distance[width];
        input.load(offset, place.channel, gradient, distance);
        Pack<T, width> behind;
        for (int c = 0; c < width; ++c) {
          sums[c].merge({gradient[c], gradient[c] * distance[c]});
          behind.value[c] = static_cast<T>(gradient[c]);
        }
        if (passed) *reinterpret_cast<Pack<T, width>*>(passed + offset) = behind;
      }
      for (int c = 0; c < width; ++c) shared.entry[lane * width + c] = sums[c];
    });
    merge_slots<width>(block, index, tiles, shared.entry, out);
  }
};

template <typename A>
struct FinishGradientBody {
  struct Shared {
    SumPair<A> entry[block_lanes];
  };
  RowTiles tiles;
  const SumPair<A>* partial;
  const A* inverse_deviation;
  A *weight_gradient, *bias_gradient;

  HD void operator()(const Block& block, int64_t index, Shared& shared) const {
    finish_chunks(block, index, shared.entry, tiles, partial, [&](int64_t channel, const SumPair<A>& total) {
      bias_gradient[channel] = total.first;
      weight_gradient[channel] = total.second * inverse_deviation[channel];
    });
  }
};

/// in_gradient = weight · inverse_deviation · (g − mean of g − x̂ · mean of g x̂) + so_far (unless null), with
/// the means read off the parameters' gradients. `in_gradient` may be `out_gradient` or `so_far`.
template <typename T, int width>
struct InGradientBody {
  using A = ParameterOf<T>;
  struct Shared {};
  RowTiles tiles;
  GradientInput<T, width> input;
  const A *weight_gradient, *bias_gradient;
  const T* so_far;
  T* in_gradient;

  HD void operator()(const Block& block, int64_t index, Shared&) const {
    block.each(block_lanes, [&](int64_t lane) {
      const LanePlace<width> place(tiles, index, lane);
      if (!place.active) return;
      A scale[width], mean_gradient[width], slope[width];
      for (int c = 0; c < width; ++c) {
        const int64_t channel = place.channel + c;
        scale[c] = input.weight[channel] * input.inverse_deviation[channel];
        mean_gradient[c] = bias_gradient[channel] / static_cast<A>(tiles.rows);
        slope[c] = weight_gradient[channel] / static_cast<A>(tiles.rows) * input.inverse_deviation[channel];
      }
      for (int64_t row = place.row; row < place.row_end; row += tiles.slots) {
        const int64_t offset = row * tiles.channels + place.channel;
        A gradient[width], distance[width];
        input.load(offset, place.channel, gradient, distance);
        Pack<T, width> result{}, before{};
        if (so_far) before = *reinterpret_cast<const Pack<T, width>*>(so_far + offset);
        for (int c = 0; c < width; ++c)
          result.value[c] =
              static_cast<T>(scale[c] * (gradient[c] - mean_gradient[c] - distance[c] * slope[c]) +
                             static_cast<A>(before.value[c]));
        *reinterpret_cast<Pack<T, width>*>(in_gradient + offset) = result;
      }
    });
  }
};

}  // namespace dw::DEEPWATER_BACKEND
