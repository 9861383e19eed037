// The fused distribution-matching kernel: the loss of docs/watermark.md, section 3, and its gradient for all
// marked layers. Shares are integers, so that sums depend neither on order nor on threads.
#include "watermark/bodies/distribution_matching.h"

#include <bit>
#include <cmath>

#include "kernels/block.h"
#include "watermark/target.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

static_assert(knot_count * 2 == histogram_bins);
constexpr float bins_per_unit = 1 / static_cast<float>(knot_step);

struct Nothing {};

// Sum of squares and number of the non-zero weights.
struct ScaleParts {
  double squares, nonzero;
};

struct ScalePartsBody {
  MatchingArguments a;
  struct Shared {
    LaneValues<ScaleParts> lanes;
  };

  HD void operator()(const Block& block, int64_t index, Shared& shared) const {
    const MatchingStretch stretch = a.stretches[index];
    const float* weight = a.layers[stretch.layer].weight + stretch.first;
    const ScaleParts parts = block.reduce(
        stretch.count, ScaleParts{0, 0}, shared.lanes,
        [=](int64_t i) {
          const auto w = static_cast<double>(weight[i]);
          return ScaleParts{w * w, w != 0 ? 1.0 : 0.0};
        },
        [](const ScaleParts& x, const ScaleParts& y) {
          return ScaleParts{x.squares + y.squares, x.nonzero + y.nonzero};
        });
    block.each(1, [&](int64_t) {
      a.square_sums[index] = parts.squares;
      a.nonzero_counts[index] = parts.nonzero;
    });
  }
};

struct ScalesBody {
  MatchingArguments a;

  HD void operator()(const Block& block, int64_t index, Nothing&) const {
    const MatchingLayer& layer = a.layers[index];
    block.each(1, [&](int64_t) {
      double squares = 0, nonzero = 0;
      for (int64_t s = layer.first_stretch; s < layer.first_stretch + layer.stretches; ++s) {
        squares += a.square_sums[s];
        nonzero += a.nonzero_counts[s];
      }
      a.scales[index] = nonzero > 0 ? static_cast<float>(sqrt(squares / nonzero)) : 0.0F;
    });
  }
};

// A weight's linear-binned shares: of bin `low` of its bit, and the rest of the one above it.
struct Shares {
  int32_t bin;  // bit · histogram_bins + low
  int32_t to_high;
};

HD inline Shares shares_of(float v, int32_t bit) {
  // Relative to the boundary between the middle bins, where most weights lie, so that they keep their digits.
  const float shifted = v * bins_per_unit - 0.5F;
  int32_t below = static_cast<int32_t>(shifted);  // towards zero: one too high for negative fractions
  below -= static_cast<float>(below) > shifted ? 1 : 0;
  const float above = shifted - static_cast<float>(below);
  // The outermost bins take what lies beyond them. In integers: selects between floats would not vectorise.
  constexpr int32_t lowest = -knot_count, highest = knot_count - 2;
  int32_t to_high = static_cast<int32_t>(above * static_cast<float>(share_unit) + 0.5F);
  to_high = below < lowest ? 0 : to_high;
  to_high = below > highest ? static_cast<int32_t>(share_unit) : to_high;
  below = below < lowest ? lowest : below;
  below = below > highest ? highest : below;
  return {bit * histogram_bins + below + knot_count, to_high};
}

// Signs are coin flips, which a branch would guess wrong half of the time.
HD inline float aligned(float u, uint16_t carrier) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(u) ^ (static_cast<uint32_t>(carrier & 0x8000U) << 16));
}
HD inline float with_sign_of(float w, float value) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ (std::bit_cast<uint32_t>(w) & 0x80000000U));
}
HD inline int32_t bit_of(uint16_t carrier) {
  return carrier & 0x7fff;
}
HD inline float inverse_of(float scale) {
  return scale > 0 ? 1 / scale : 0.0F;
}

// Counts in the block's own memory, then adds what it counted to the histogram of all blocks.
struct HistogramBody {
  MatchingArguments a;
  struct Shared {
    uint32_t bins[most_bits_in_a_block * histogram_bins];
  };

  HD void operator()(const Block& block, int64_t index, Shared& shared) const {
    const MatchingStretch stretch = a.stretches[index];
    const MatchingLayer& layer = a.layers[stretch.layer];
    const float* weight = layer.weight + stretch.first;
    const uint16_t* carrier = layer.carrier + stretch.first;
    const float inverse = inverse_of(a.scales[stretch.layer]);
    const int64_t bins = a.bits * histogram_bins;
    block.each(bins, [&](int64_t i) { shared.bins[i] = 0; });
    block.each_prepared(
        stretch.count,
        [=](int64_t i) { return shares_of(aligned(weight[i] * inverse, carrier[i]), bit_of(carrier[i])); },
        [&](int64_t, const Shares& shares) {
          uint32_t* bin = shared.bins + shares.bin;
          block.add_in_block(bin, share_unit - static_cast<uint32_t>(shares.to_high));
          block.add_in_block(bin + 1, static_cast<uint32_t>(shares.to_high));
        });
    block.each(bins, [&](int64_t i) {
      if (shared.bins[i] != 0) block.atomic_add(a.histogram + i, shared.bins[i]);
    });
  }
};

struct LargeHistogramBody {
  MatchingArguments a;

  HD void operator()(const Block& block, int64_t index, Nothing&) const {
    const MatchingStretch stretch = a.stretches[index];
    const MatchingLayer& layer = a.layers[stretch.layer];
    const float* weight = layer.weight + stretch.first;
    const uint16_t* carrier = layer.carrier + stretch.first;
    const float inverse = inverse_of(a.scales[stretch.layer]);
    block.each_prepared(
        stretch.count,
        [=](int64_t i) { return shares_of(aligned(weight[i] * inverse, carrier[i]), bit_of(carrier[i])); },
        [&](int64_t, const Shares& shares) {
          block.atomic_add(a.histogram + shares.bin, share_unit - static_cast<uint32_t>(shares.to_high));
          block.atomic_add(a.histogram + shares.bin + 1, shares.to_high);
        });
  }
};

struct ClearBody {
  MatchingArguments a;

  HD void operator()(const Block& block, int64_t bit, Nothing&) const {
    block.each(histogram_bins, [&](int64_t i) { a.histogram[bit * histogram_bins + i] = 0; });
  }
};

// One bit: prefix sums of its histogram are its distribution function; what is missing to the target is its
// pull.
struct SlopesBody {
  MatchingArguments a;

  HD void operator()(const Block& block, int64_t bit, Nothing&) const {
    block.each(1, [&](int64_t) {
      int64_t below[histogram_bins];
      int64_t sum = 0;
      for (int k = 0; k < histogram_bins; ++k) below[k] = sum += a.histogram[bit * histogram_bins + k];
      const double owned = static_cast<double>(sum) / share_unit;
      double loss = 0;
      for (int i = 0; i < knot_count; ++i) {
        const double skew =
            owned > 0 ? static_cast<double>(sum - below[knot_count - 1 + i] - below[knot_count - 1 - i]) /
                            static_cast<double>(sum)
                      : 0.0;
        double missing = owned > 0 ? static_cast<double>(a.target[i]) - skew : 0.0;
        if (a.one_sided && missing < 0) missing = 0;
        loss += (i == 0 ? 0.5 : 1.0) * missing * missing;
        a.slopes[bit * slope_count + i] =
            owned > 0 ? static_cast<float>(-2 * a.strength * a.mean_weights / owned * missing) : 0.0F;
      }
      a.slopes[bit * slope_count + knot_count] = 0;
      a.losses[bit] = loss * knot_step * a.mean_weights / static_cast<double>(a.bits);
    });
  }
};

// The mean over all weights of one magnitude of what the slopes push outwards. Outward is v's direction for
// positive v and against it for negative v; the tilt leaves more of the former, so unless this is taken out
// the magnitudes grow.
struct Flow {
  double outward;
  int64_t weights;  // in half shares
};

struct DriftBody {
  MatchingArguments a;
  struct Shared {
    LaneValues<Flow> lanes;
  };

  HD void operator()(const Block& block, int64_t knot, Shared& shared) const {
    // Bins lie half a step beside the knots.
    const int64_t* positive = a.histogram + knot_count - 1 + knot;
    const int64_t* negative = a.histogram + knot_count - 1 - knot;
    const float* slopes = a.slopes + knot;
    const bool moves = a.keep_magnitudes && knot > 0 && knot < knot_count;
    const Flow flow = block.reduce(
        moves ? a.bits : 0, Flow{0, 0}, shared.lanes,
        [=](int64_t bit) {
          const int64_t row = bit * histogram_bins;
          const int64_t plus = positive[row] + positive[row + 1], minus = negative[row] + negative[row + 1];
          return Flow{static_cast<double>(plus - minus) * slopes[bit * slope_count], plus + minus};
        },
        [](const Flow& x, const Flow& y) {
          return Flow{x.outward + y.outward, x.weights + y.weights};
        });
    block.each(1, [&](int64_t) {
      a.drift[knot] =
          flow.weights > 0 ? static_cast<float>(flow.outward / static_cast<double>(flow.weights)) : 0.0F;
    });
  }
};

struct GradientBody {
  MatchingArguments a;

  HD void operator()(const Block& block, int64_t index, Nothing&) const {
    const MatchingStretch stretch = a.stretches[index];
    const MatchingLayer& layer = a.layers[stretch.layer];
    const float* weight = layer.weight + stretch.first;
    float* gradient = layer.gradient + stretch.first;
    const uint16_t* carrier = layer.carrier + stretch.first;
    const float scale = a.scales[stretch.layer];
    const float steps = inverse_of(scale) * bins_per_unit;
    constexpr float beyond = knot_count;
    const float* slopes = a.slopes;
    const float* drift = a.drift;
    block.each_prepared(
        stretch.count,
        [=](int64_t i) {
          const float knot = fabsf(weight[i]) * steps + 0.5F;
          const auto index_of_knot = static_cast<int32_t>(knot < beyond ? knot : beyond);
          return aligned(slopes[bit_of(carrier[i]) * slope_count + index_of_knot], carrier[i]) -
                 with_sign_of(weight[i], drift[index_of_knot]);
        },
        [=](int64_t i, float pull) { gradient[i] += scale * pull; });
  }
};

}  // namespace

void match_distributions(Stream stream, const MatchingArguments& a) {
  for_each_block<ScalePartsBody::Shared>(stream, a.stretch_count, ScalePartsBody{a});
  for_each_block<Nothing>(stream, a.layer_count, ScalesBody{a}, false);
  for_each_block<Nothing>(stream, a.bits, ClearBody{a}, false);
  if (a.bits <= most_bits_in_a_block) {
    for_each_block<HistogramBody::Shared>(stream, a.stretch_count, HistogramBody{a});
  } else {
    for_each_block<Nothing>(stream, a.stretch_count, LargeHistogramBody{a});
  }
  for_each_block<Nothing>(stream, a.bits, SlopesBody{a}, false);
  for_each_block<DriftBody::Shared>(stream, slope_count, DriftBody{a}, false);
  for_each_block<Nothing>(stream, a.stretch_count, GradientBody{a});
}

}  // namespace dw::DEEPWATER_BACKEND
