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

// A weight's linear-binned shares: bin `low` and the one above it.
struct Shares {
  int low;
  uint32_t to_low, to_high;
};

HD inline Shares shares_of(float v) {
  // Relative to the boundary between the middle bins, where most weights lie, so that they keep their digits.
  constexpr float outermost = static_cast<float>(knot_count) - 0.5F;
  float position = v * bins_per_unit;
  position = position > -outermost ? position : -outermost;
  position = position < outermost ? position : outermost;
  const float shifted = position - 0.5F;
  int below = static_cast<int>(shifted);  // towards zero: one too high for negative fractions
  below -= static_cast<float>(below) > shifted ? 1 : 0;
  int low = below + knot_count;
  float above = shifted - static_cast<float>(below);
  if (low > histogram_bins - 2) {
    low = histogram_bins - 2;
    above = 1;
  }
  const auto high = static_cast<uint32_t>(above * static_cast<float>(share_unit) + 0.5F);
  return {low, share_unit - high, high};
}

// Signs are coin flips, which a branch would guess wrong half of the time.
HD inline float aligned(float u, uint16_t carrier) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(u) ^ (static_cast<uint32_t>(carrier & 0x8000U) << 16));
}
HD inline int64_t bit_of(uint16_t carrier) {
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
    block.each(stretch.count, [&](int64_t i) {
      const Shares shares = shares_of(aligned(weight[i] * inverse, carrier[i]));
      uint32_t* bin = shared.bins + bit_of(carrier[i]) * histogram_bins + shares.low;
      block.add_in_block(bin, shares.to_low);
      block.add_in_block(bin + 1, shares.to_high);
    });
    int64_t* histogram = a.histogram + index % a.parts * bins;
    block.each(bins, [&](int64_t i) {
      if (shared.bins[i] != 0) block.atomic_add(histogram + i, shared.bins[i]);
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
    block.each(stretch.count, [&](int64_t i) {
      const Shares shares = shares_of(aligned(weight[i] * inverse, carrier[i]));
      const int64_t row = index % a.parts * a.bits + bit_of(carrier[i]);
      int64_t* bin = a.histogram + row * histogram_bins + shares.low;
      block.atomic_add(bin, shares.to_low);
      block.atomic_add(bin + 1, shares.to_high);
    });
  }
};

struct ClearBody {
  MatchingArguments a;

  HD void operator()(const Block& block, int64_t bit, Nothing&) const {
    block.each(a.parts * histogram_bins, [&](int64_t i) {
      const int64_t part = i / histogram_bins, bin = i % histogram_bins;
      a.histogram[(part * a.bits + bit) * histogram_bins + bin] = 0;
    });
  }
};

// One bit: prefix sums of its histogram are its distribution function; what is missing to the target is its
// pull.
struct SlopesBody {
  MatchingArguments a;

  HD void operator()(const Block& block, int64_t bit, Nothing&) const {
    block.each(1, [&](int64_t) {
      int64_t below[histogram_bins] = {};
      for (int64_t part = 0; part < a.parts; ++part) {
        const int64_t* bins = a.histogram + (part * a.bits + bit) * histogram_bins;
        for (int k = 0; k < histogram_bins; ++k) below[k] += bins[k];
      }
      int64_t sum = 0;
      for (int k = 0; k < histogram_bins; ++k) below[k] = sum += below[k];
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
    block.each(stretch.count, [=](int64_t i) {
      const float knot = fabsf(weight[i]) * steps + 0.5F;
      const int index_of_knot = static_cast<int>(knot < beyond ? knot : beyond);
      const float slope = slopes[bit_of(carrier[i]) * slope_count + index_of_knot];
      gradient[i] += scale * aligned(slope, carrier[i]);
    });
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
  for_each_block<Nothing>(stream, a.stretch_count, GradientBody{a});
}

}  // namespace dw::DEEPWATER_BACKEND
