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
    const A total = count + other.count, share = other.count / (total > 0 ? total : 1);
    merge(other, share);
    count = total;
  }
  /// All but the count, with `share` the other's part of it.
  HD void merge(const Moments& other, A share) {
    const A distance = other.mean - mean;
    mean += distance * share;
    square += other.square + distance * distance * count * share;
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

/// A matrix, or with `adds` in + addend, which goes to `sum` unless that is null.
template <typename T, int width, bool adds>
struct SummedInput {
  using A = ParameterOf<T>;
  const T *in, *addend;
  T* sum;

  struct Read {
    Pack<T, width> value, other;
  };
  HD Read read(int64_t at) const {
    Read read{read_pack<width>(in + at), {}};
    if constexpr (adds) read.other = read_pack<width>(addend + at);
    return read;
  }
  /// The sum, rounded to T as it is stored.
  HD A value(const Read& read, int c) const {
    const auto value = static_cast<A>(read.value[c]);
    if constexpr (adds) return static_cast<A>(static_cast<T>(value + static_cast<A>(read.other[c])));
    return value;
  }
  HD void keep(const Read& read, int64_t at) const {
    if constexpr (adds) {
      if (sum == nullptr) return;
      Pack<T, width> stored;
      for (int c = 0; c < width; ++c) stored.set(c, static_cast<T>(value(read, c)));
      *reinterpret_cast<Pack<T, width>*>(sum + at) = stored;
    }
  }
};

/// Partial moments of every channel in every chunk: out[chunk · channels + channel].
template <typename T, int width, bool adds>
struct MomentsBody {
  using A = ParameterOf<T>;
  struct Shared {
    Moments<A> entry[block_lanes * width];
  };
  RowTiles tiles;
  SummedInput<T, width, adds> input;
  Moments<A>* out;

  HD void operator()(const Block& block, int64_t index, Shared& shared) const {
    block.each(block_lanes, [&](int64_t lane) {
      const LanePlace<width> place(tiles, index, lane);
      Moments<A> moments[width];
      if (place.active)
        for (int64_t row = place.row; row < place.row_end; row += rows_at_once * tiles.slots)
          add_rows(RowGroup<rows_at_once, width>(tiles, place, row), moments);
      for (int c = 0; c < width; ++c) shared.entry[lane * width + c] = moments[c];
    });
    merge_slots<width>(block, index, tiles, shared.entry, out);
  }

 private:
  /// Exact moments of the next few rows, merged: a mean far from zero costs no precision. All channels have
  /// the same count, so that two divisions serve them all.
  HD void add_rows(const RowGroup<rows_at_once, width>& rows, Moments<A> (&moments)[width]) const {
    typename SummedInput<T, width, adds>::Read read[rows_at_once];
    for (int u = 0; u < rows_at_once; ++u) read[u] = input.read(rows.offset[u]);
    for (int u = 0; u < rows_at_once; ++u)
      if (u < rows.count) input.keep(read[u], rows.offset[u]);
    const A few = static_cast<A>(rows.count), inverse = 1 / few;
    const A total = moments[0].count + few, share = few / total;
    for (int c = 0; c < width; ++c) {
      Moments<A> own{few, 0, 0};
      for (int u = 0; u < rows_at_once; ++u) own.mean += u < rows.count ? input.value(read[u], c) : A{0};
      own.mean *= inverse;
      for (int u = 0; u < rows_at_once; ++u) {
        const A distance = input.value(read[u], c) - own.mean;
        own.square += u < rows.count ? distance * distance : A{0};
      }
      moments[c].merge(own, share);
      moments[c].count = total;
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

/// What a normalised value is made with.
template <typename A>
struct Normalisation {
  const A *mean, *inverse_deviation;  ///< of the batch
  const A* variance;                  ///< or, unless null, what the deviation comes from (inference)
  const A *weight, *bias;
  A epsilon;
};

/// out = (input - mean) · weight · inverse_deviation + bias + residual (where there is one), then ReLU. `out`
/// may be the input.
template <typename T, int width, bool adds, bool has_residual>
struct NormaliseBody {
  using A = ParameterOf<T>;
  struct Shared {};
  RowTiles tiles;
  SummedInput<T, width, adds> input;
  Normalisation<A> by;
  const T* residual;
  bool relu;
  T* out;

  HD void operator()(const Block& block, int64_t index, Shared&) const {
    block.each(block_lanes, [&](int64_t lane) {
      const LanePlace<width> place(tiles, index, lane);
      if (!place.active) return;
      const Channels<width, A> centre(by.mean, place.channel), shift(by.bias, place.channel);
      Channels<width, A> scale(by.variance ? by.variance : by.inverse_deviation, place.channel);
      const Channels<width, A> weight(by.weight, place.channel);
      if (by.variance)
        for (int c = 0; c < width; ++c) scale.value[c] = 1 / std::sqrt(scale[c] + by.epsilon);
      for (int c = 0; c < width; ++c) scale.value[c] *= weight[c];
      for (int64_t row = place.row; row < place.row_end; row += rows_at_once * tiles.slots) {
        const RowGroup<rows_at_once, width> rows(tiles, place, row);
        typename SummedInput<T, width, adds>::Read read[rows_at_once];
        Pack<T, width> added[rows_at_once];
        for (int u = 0; u < rows_at_once; ++u) {
          read[u] = input.read(rows.offset[u]);
          if constexpr (has_residual) added[u] = read_pack<width>(residual + rows.offset[u]);
        }
        // Else, with an addend in bf16, what was read would lie in memory.
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
        for (int u = 0; u < rows_at_once; ++u) {
          if (u >= rows.count) continue;
          input.keep(read[u], rows.offset[u]);
          Pack<T, width> result;
          for (int c = 0; c < width; ++c) {
            A value = (input.value(read[u], c) - centre[c]) * scale[c] + shift[c];
            if constexpr (has_residual) value += static_cast<A>(added[u][c]);
            result.set(c, static_cast<T>(relu && value < 0 ? A{0} : value));
          }
          *reinterpret_cast<Pack<T, width>*>(out + rows.offset[u]) = result;
        }
      }
    });
  }
};

/// What stops the gradient on its way to the normalised values: nothing, or a ReLU that was shut, as the
/// normalised value tells, or the output where a residual was added.
enum class Gate : uint8_t { open, by_input, by_output };

/// Calls body with the flag, or the gate, as a type: what a kernel does not do then costs it no register.
template <typename Body>
void with_flag(bool flag, const Body& body) {
  flag ? body(std::true_type{}) : body(std::false_type{});
}
template <typename Body>
void with_gate(Gate gate, const Body& body) {
  if (gate == Gate::by_output) return body(std::integral_constant<Gate, Gate::by_output>{});
  if (gate == Gate::by_input) return body(std::integral_constant<Gate, Gate::by_input>{});
  body(std::integral_constant<Gate, Gate::open>{});
}

/// Rows of both gradient passes that a lane reads at once: of each it reads two or three matrices.
inline constexpr int gradient_rows_at_once = 2;

/// What both gradient passes read: the gradient behind the gate and the distance from the mean.
template <typename T, int width, Gate gate>
struct GradientInput {
  using A = ParameterOf<T>;
  const T *out_gradient, *in, *out;
  const A *mean, *inverse_deviation, *weight, *bias;

  struct Parameters {
    Channels<width, A> mean, scale, bias;
  };
  HD Parameters parameters(int64_t channel) const {
    Parameters own{{mean, channel}, {weight, channel}, {bias, channel}};
    const Channels<width, A> inverse(inverse_deviation, channel);
    for (int c = 0; c < width; ++c) own.scale.value[c] *= inverse[c];
    return own;
  }

  struct Read {
    Pack<T, width> gradient, value, result;
  };
  HD Read read(int64_t offset) const {
    Read read{read_pack<width>(out_gradient + offset), read_pack<width>(in + offset), {}};
    if constexpr (gate == Gate::by_output) read.result = read_pack<width>(out + offset);
    return read;
  }
  HD A distance(const Read& read, const Parameters& own, int c) const {
    return static_cast<A>(read.value[c]) - own.mean[c];
  }
  HD A gradient(const Read& read, const Parameters& own, int c) const {
    const auto from = static_cast<A>(read.gradient[c]);
    if constexpr (gate == Gate::open) return from;
    A output;
    if constexpr (gate == Gate::by_output)
      output = static_cast<A>(read.result[c]);
    else
      output = distance(read, own, c) * own.scale[c] + own.bias[c];
    return output > 0 ? from : A{0};
  }
};

/// Partial sums of the gradient, and of the gradient times the distance from the mean. Where the output is
/// the gate, the gradient behind it goes to `passed`.
template <typename T, int width, Gate gate>
struct GradientSumsBody {
  using A = ParameterOf<T>;
  using Input = GradientInput<T, width, gate>;
  struct Shared {
    SumPair<A> entry[block_lanes * width];
  };
  RowTiles tiles;
  Input input;
  T* passed;
  SumPair<A>* out;

  HD void operator()(const Block& block, int64_t index, Shared& shared) const {
    block.each(block_lanes, [&](int64_t lane) {
      const LanePlace<width> place(tiles, index, lane);
      SumPair<A> sums[width];
      if (place.active) {
        const typename Input::Parameters own = input.parameters(place.channel);
        constexpr int at_once = gradient_rows_at_once;
        for (int64_t row = place.row; row < place.row_end; row += at_once * tiles.slots) {
          const RowGroup<at_once, width> rows(tiles, place, row);
          typename Input::Read read[at_once];
          for (int u = 0; u < at_once; ++u) read[u] = input.read(rows.offset[u]);
          for (int u = 0; u < at_once; ++u)
            if (u < rows.count) add_row(read[u], own, rows.offset[u], sums);
        }
      }
      for (int c = 0; c < width; ++c) shared.entry[lane * width + c] = sums[c];
    });
    merge_slots<width>(block, index, tiles, shared.entry, out);
  }

 private:
  HD void add_row(const typename Input::Read& read, const typename Input::Parameters& own, int64_t offset,
                  SumPair<A> (&sums)[width]) const {
    Pack<T, width> behind;
    for (int c = 0; c < width; ++c) {
      const A gradient = input.gradient(read, own, c);
      sums[c].merge({gradient, gradient * input.distance(read, own, c)});
      if constexpr (gate == Gate::by_output) behind.set(c, static_cast<T>(gradient));
    }
    if constexpr (gate == Gate::by_output) *reinterpret_cast<Pack<T, width>*>(passed + offset) = behind;
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

/// in_gradient = weight · inverse_deviation · (g − mean of g − x̂ · mean of g x̂) + so_far (where there is
/// one), with the means read off the parameters' gradients. `in_gradient` may be `out_gradient` or `so_far`.
template <typename T, int width, Gate gate, bool adds>
struct InGradientBody {
  using A = ParameterOf<T>;
  using Input = GradientInput<T, width, gate>;
  struct Shared {};
  RowTiles tiles;
  Input input;
  const A *weight_gradient, *bias_gradient;
  const T* so_far;
  T* in_gradient;

  HD void operator()(const Block& block, int64_t index, Shared&) const {
    block.each(block_lanes, [&](int64_t lane) {
      const LanePlace<width> place(tiles, index, lane);
      if (!place.active) return;
      const typename Input::Parameters own = input.parameters(place.channel);
      Channels<width, A> mean_gradient(bias_gradient, place.channel), slope(weight_gradient, place.channel);
      const Channels<width, A> inverse(input.inverse_deviation, place.channel);
      const A share = 1 / static_cast<A>(tiles.rows);
      for (int c = 0; c < width; ++c) {
        mean_gradient.value[c] *= share;
        slope.value[c] *= share * inverse[c];
      }
      constexpr int at_once = gradient_rows_at_once;
      for (int64_t row = place.row; row < place.row_end; row += at_once * tiles.slots) {
        const RowGroup<at_once, width> rows(tiles, place, row);
        typename Input::Read read[at_once];
        Pack<T, width> before[at_once];
        for (int u = 0; u < at_once; ++u) {
          read[u] = input.read(rows.offset[u]);
          if constexpr (adds) before[u] = read_pack<width>(so_far + rows.offset[u]);
        }
        for (int u = 0; u < at_once; ++u) {
          if (u >= rows.count) continue;
          Pack<T, width> result;
          for (int c = 0; c < width; ++c) {
            const A towards = input.gradient(read[u], own, c) - mean_gradient[c];
            A value = own.scale[c] * (towards - input.distance(read[u], own, c) * slope[c]);
            if constexpr (adds) value += static_cast<A>(before[u][c]);
            result.set(c, static_cast<T>(value));
          }
          *reinterpret_cast<Pack<T, width>*>(in_gradient + rows.offset[u]) = result;
        }
      }
    });
  }
};

}  // namespace dw::DEEPWATER_BACKEND
