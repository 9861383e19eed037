// The fused distribution-matching kernel: the loss of docs/watermark.md, section 3, and its gradient for all
// marked layers, in one launch. Shares are integers, so that sums depend neither on order nor on how many
// blocks there are.
// Floor: 14 bytes a weight (weight, carrier and gradient in, gradient out), 24 where no cache holds the
// weights from one of its three passes to the next.
#include "watermark/bodies/distribution_matching.h"

#include <bit>
#include <cmath>
#include <functional>

#include "kernels/block.h"
#include "watermark/target.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

static_assert(knot_count * 2 == histogram_bins);
constexpr float bins_per_unit = 1 / static_cast<float>(knot_step);

// Sum of squares and number of the non-zero weights.
struct ScaleParts {
  double squares, nonzero;
};
HD inline ScaleParts operator+(const ScaleParts& x, const ScaleParts& y) {
  return {x.squares + y.squares, x.nonzero + y.nonzero};
}

// What the slopes push outwards at one magnitude, and how many weights it meets there.
struct Flow {
  double outward;
  int64_t weights;  // in half shares
};
HD inline Flow operator+(const Flow& x, const Flow& y) {
  return {x.outward + y.outward, x.weights + y.weights};
}

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
HD inline float with_sign(float value, int32_t sign) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ (static_cast<uint32_t>(sign) & 0x80000000U));
}
HD inline int32_t bit_of(uint16_t carrier) {
  return carrier & 0x7fff;
}
HD inline float inverse_of(float scale) {
  return scale > 0 ? 1 / scale : 0.0F;
}

// Where the pull on a weight stands: entry bit · 64 + (place mod 64) of a table, `place` the knot nearest to
// v, -32 to 32. Nothing pulls at the ends, which share an entry. The top bit is the carrier's sign.
HD inline int32_t signed_entry(float steps, uint16_t carrier) {
  constexpr float beyond = knot_count;
  const float distance = fabsf(steps) + 0.5F;
  const auto knot = static_cast<int32_t>(distance < beyond ? distance : beyond);
  const int32_t negative = std::bit_cast<int32_t>(aligned(steps, carrier)) >> 31;  // -1 or 0
  const int32_t place = (knot ^ negative) - negative;
  const int32_t entry = bit_of(carrier) * histogram_bins + (place & (histogram_bins - 1));
  return entry | (carrier & 0x8000) << 16;
}

// What that entry holds: the pull in the direction of v.
HD inline float pull_at(const MatchingArguments& a, int32_t entry) {
  const int32_t bit = entry / histogram_bins, place = entry % histogram_bins;
  const bool negative = place >= knot_count;
  const int32_t knot = negative ? histogram_bins - place : place;
  return a.slopes[bit * slope_count + knot] - (negative ? -a.drift[knot] : a.drift[knot]);
}

struct MatchingBody {
  MatchingArguments a;

  struct Shared {
    LaneValues<ScaleParts> scale_parts;
    union {
      uint32_t bins[most_bits_in_a_block * histogram_bins];
      float pulls[most_bits_in_a_block * histogram_bins];  // one for each bit and place
      LaneValues<Flow> flow;
      struct {
        int64_t below[histogram_bins];
        double squares[knot_count];
        LaneValues<int64_t> lanes;
      } bit;
    };
  };

  HD void operator()(const CrewBlock& block, Shared& shared) const {
    const bool in_block = a.bits <= most_bits_in_a_block;
    measure(block, shared);
    block.meet();
    in_block ? count_in_block(block, shared) : count_in_device_memory(block, shared);
    block.meet();
    for (int64_t bit = block.begin(a.bits); bit < block.end(a.bits); ++bit) compare(block, bit, shared);
    block.meet();
    for (int64_t knot = block.begin(slope_count); knot < block.end(slope_count); ++knot)
      find_drift(block, knot, shared);
    block.meet();
    in_block ? pull_by_table(block, shared) : pull_from_device_memory(block, shared);
  }

 private:
  // Sums of squares of this block's stretches; and the histogram starts from zero.
  HD void measure(const CrewBlock& block, Shared& shared) const {
    const int64_t first_bin = block.begin(a.bits) * histogram_bins;
    block.each(block.end(a.bits) * histogram_bins - first_bin,
               [&](int64_t i) { a.histogram[first_bin + i] = 0; });
    for (int64_t s = block.begin(a.stretch_count); s < block.end(a.stretch_count); ++s) {
      const float* weight = a.layers[a.stretches[s].layer].weight + a.stretches[s].first;
      const ScaleParts parts = block.reduce(
          a.stretches[s].count, ScaleParts{0, 0}, shared.scale_parts,
          [=](int64_t i) {
            const auto w = static_cast<double>(weight[i]);
            return ScaleParts{w * w, w != 0 ? 1.0 : 0.0};
          },
          std::plus<>());
      block.each(1, [&](int64_t) {
        a.square_sums[s] = parts.squares;
        a.nonzero_counts[s] = parts.nonzero;
      });
    }
  }

  HD float scale_of(const CrewBlock& block, const MatchingLayer& layer, Shared& shared) const {
    const double* squares = a.square_sums + layer.first_stretch;
    const double* nonzero = a.nonzero_counts + layer.first_stretch;
    const ScaleParts sums = block.reduce(
        layer.stretches, ScaleParts{0, 0}, shared.scale_parts,
        [=](int64_t i) {
          return ScaleParts{squares[i], nonzero[i]};
        },
        std::plus<>());
    return sums.nonzero > 0 ? static_cast<float>(sqrt(sums.squares / sums.nonzero)) : 0.0F;
  }

  // Calls visit(stretch, weight, carrier, 1 / scale) for this block's stretches.
  template <typename Visit>
  HD void each_stretch(const CrewBlock& block, Shared& shared, const Visit& visit) const {
    int64_t layer_index = -1;
    float scale = 0;
    for (int64_t s = block.begin(a.stretch_count); s < block.end(a.stretch_count); ++s) {
      const MatchingStretch& stretch = a.stretches[s];
      const MatchingLayer& layer = a.layers[stretch.layer];
      if (stretch.layer != layer_index) {
        layer_index = stretch.layer;
        scale = scale_of(block, layer, shared);
      }
      visit(stretch, layer.weight + stretch.first, layer.carrier + stretch.first, scale);
    }
  }

  // Calls add(index, shares) for each weight of a stretch, in order.
  template <typename Add>
  HD void count(const CrewBlock& block, const MatchingStretch& stretch, const float* weight,
                const uint16_t* carrier, float scale, const Add& add) const {
    const float inverse = inverse_of(scale);
    block.each_prepared(
        stretch.count,
        [=](int64_t i) { return shares_of(aligned(weight[i] * inverse, carrier[i]), bit_of(carrier[i])); },
        add);
  }

  HD void count_in_block(const CrewBlock& block, Shared& shared) const {
    const int64_t bins = a.bits * histogram_bins;
    const auto clear = [&] { block.each(bins, [&](int64_t i) { shared.bins[i] = 0; }); };
    clear();
    int64_t round = -1;
    each_stretch(
        block, shared,
        [&](const MatchingStretch& stretch, const float* weight, const uint16_t* carrier, float scale) {
          if (round >= 0 && stretch.round != round) {
            block.atomic_add_all(a.histogram, shared.bins, bins);
            clear();
          }
          round = stretch.round;
          count(block, stretch, weight, carrier, scale, [&](int64_t, const Shares& shares) {
            const auto high = static_cast<uint32_t>(shares.to_high);
            block.add_pair_in_block(shared.bins + shares.bin, share_unit - high, high);
          });
        });
    block.atomic_add_all(a.histogram, shared.bins, bins);
  }

  HD void count_in_device_memory(const CrewBlock& block, Shared& shared) const {
    each_stretch(
        block, shared,
        [&](const MatchingStretch& stretch, const float* weight, const uint16_t* carrier, float scale) {
          count(block, stretch, weight, carrier, scale, [&](int64_t, const Shares& shares) {
            block.atomic_add(a.histogram + shares.bin, share_unit - shares.to_high);
            block.atomic_add(a.histogram + shares.bin + 1, shares.to_high);
          });
        });
  }

  // One bit: prefix sums of its histogram are its distribution function; what is missing to the target is its
  // pull.
  HD void compare(const CrewBlock& block, int64_t bit, Shared& shared) const {
    int64_t* below = shared.bit.below;
    block.each(histogram_bins, [&](int64_t k) { below[k] = a.histogram[bit * histogram_bins + k]; });
    block.inclusive_scan(histogram_bins, below, shared.bit.lanes, std::plus<>());
    const int64_t sum = below[histogram_bins - 1];
    const double owned = static_cast<double>(sum) / share_unit;
    const double factor = owned > 0 ? -2 * a.strength * a.mean_weights / owned : 0;
    block.each(slope_count, [&](int64_t i) {
      double missing = 0;
      if (i < knot_count && owned > 0) {
        const int64_t above = sum - below[knot_count - 1 + i] - below[knot_count - 1 - i];
        missing = static_cast<double>(a.target[i]) - static_cast<double>(above) / static_cast<double>(sum);
        if (a.one_sided && missing < 0) missing = 0;
      }
      if (i < knot_count) shared.bit.squares[i] = missing * missing;
      a.slopes[bit * slope_count + i] = static_cast<float>(factor * missing);
    });
    block.each(1, [&](int64_t) {
      double loss = 0.5 * shared.bit.squares[0];
      for (int i = 1; i < knot_count; ++i) loss += shared.bit.squares[i];
      a.losses[bit] = loss * knot_step * a.mean_weights / static_cast<double>(a.bits);
    });
  }

  // The mean over all weights of one magnitude of what the slopes push outwards. Outward is v's direction for
  // positive v and against it for negative v; the tilt leaves more of the former, so unless this is taken out
  // the magnitudes grow.
  HD void find_drift(const CrewBlock& block, int64_t knot, Shared& shared) const {
    // Bins lie half a step beside the knots.
    const int64_t* positive = a.histogram + knot_count - 1 + knot;
    const int64_t* negative = a.histogram + knot_count - 1 - knot;
    const float* slopes = a.slopes + knot;
    const bool moves = a.keep_magnitudes && knot > 0 && knot < knot_count;
    const Flow flow = block.reduce(
        moves ? a.bits : 0, Flow{0, 0}, shared.flow,
        [=](int64_t bit) {
          const int64_t row = bit * histogram_bins;
          const int64_t plus = positive[row] + positive[row + 1], minus = negative[row] + negative[row + 1];
          return Flow{static_cast<double>(plus - minus) * slopes[bit * slope_count], plus + minus};
        },
        std::plus<>());
    block.each(1, [&](int64_t) {
      a.drift[knot] =
          flow.weights > 0 ? static_cast<float>(flow.outward / static_cast<double>(flow.weights)) : 0.0F;
    });
  }

  HD void pull_by_table(const CrewBlock& block, Shared& shared) const {
    block.each(a.bits * histogram_bins,
               [&](int64_t i) { shared.pulls[i] = pull_at(a, static_cast<int32_t>(i)); });
    const float* pulls = shared.pulls;
    pull(block, shared, [=](int32_t entry) { return pulls[entry]; });
  }

  HD void pull_from_device_memory(const CrewBlock& block, Shared& shared) const {
    const MatchingArguments arguments = a;
    pull(block, shared, [=](int32_t entry) { return pull_at(arguments, entry); });
  }

  template <typename PullAt>
  HD void pull(const CrewBlock& block, Shared& shared, const PullAt& pull_at_entry) const {
    each_stretch(
        block, shared,
        [&](const MatchingStretch& stretch, const float* weight, const uint16_t* carrier, float scale) {
          float* gradient = a.layers[stretch.layer].gradient + stretch.first;
          const float steps = inverse_of(scale) * bins_per_unit;
          block.each_looked_up(
              stretch.count, [=](int64_t i) { return signed_entry(weight[i] * steps, carrier[i]); },
              [=](int32_t entry) { return pull_at_entry(entry & 0x7fffffff); },
              [=](int64_t i, int32_t entry, float outward) {
                gradient[i] += scale * with_sign(outward, entry);
              });
        });
  }
};

}  // namespace

void match_distributions(Stream stream, const MatchingArguments& a) {
  run_crew<MatchingBody::Shared>(stream, a.most_blocks, MatchingBody{a});
}

}  // namespace dw::DEEPWATER_BACKEND
