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

// What the slopes push outwards at one magnitude, and how many weights it meets there.
struct Flow {
  double outward;
  int64_t weights;  // in half shares
};
HD inline Flow operator+(const Flow& x, const Flow& y) {
  return {x.outward + y.outward, x.weights + y.weights};
}

// Signs are coin flips, which a branch would guess wrong half of the time.
HD inline float aligned(float u, uint16_t carrier) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(u) ^ (static_cast<uint32_t>(carrier & 0x8000U) << 16));
}
HD inline int32_t bit_of(uint16_t carrier) {
  return carrier & 0x7fff;
}

// Where a bit's row begins in a table of [bits, 64], and in one in a block's own memory. Most weights fall
// into the same half of every row. Rows are 256 bytes long: without a shift those halves would share one half
// of the CPU's first-level cache.
constexpr int32_t shifted_bits = most_bits_in_a_block / 2, row_shift = histogram_bins / 2;
struct PlainRows {
  HD constexpr int32_t operator()(int32_t bit) const { return bit * histogram_bins; }
};
struct ShiftedRows {
  HD constexpr int32_t operator()(int32_t bit) const {
    return bit * histogram_bins + bit / shifted_bits * row_shift;
  }
};
constexpr int64_t block_table = ShiftedRows()(most_bits_in_a_block - 1) + histogram_bins;

HD inline float inverse_of(float scale) {
  return scale > 0 ? 1 / scale : 0.0F;
}

// The nearest integer, from -most to most, NaN's too. Limited in integers: selects between floats would not
// vectorise.
HD inline int32_t nearest(float value, float most) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffffU;
  const uint32_t bound = std::bit_cast<uint32_t>(most);
  const uint32_t limited = (bits & 0x80000000U) | (magnitude < bound ? magnitude : bound);
  return static_cast<int32_t>(rintf(std::bit_cast<float>(limited)));
}

// A weight's linear-binned shares, of the bin below it and of the one above; `v` in units of 1 / share_unit
// bins. The outermost bins take what lies beyond their middles.
HD inline void share(float v, int32_t row, int32_t& bin, Pair& shares) {
  // Just short of the outermost middles, so that there is a bin above; a float there is even.
  constexpr int32_t middle = share_unit / 2 * (histogram_bins - 1), most = middle - 2;
  // Whole bins from the middle of the first one, and in the lower bits the rest.
  const int32_t place = nearest(v, most) + middle;
  const uint32_t upper = static_cast<uint32_t>(place) % share_unit;
  bin = row + static_cast<int32_t>(static_cast<uint32_t>(place) / share_unit);
  shares = {share_unit - upper, upper};
}

// Where the pull on a weight stands: entry place mod 64 of its bit's row, `place` the knot nearest to
// v, -32 to 32, `v` in knot steps. Nothing pulls at the ends, which share an entry.
HD inline int32_t entry_of(float v, int32_t row) {
  return row + (nearest(v, knot_count) & (histogram_bins - 1));
}

// What the entry of a positive v holds, and that of a negative one: the pull in the direction of v.
HD inline float pull_of_positive(const MatchingArguments& a, int32_t bit, int32_t knot) {
  return a.slopes[bit * slope_count + knot] - a.drift[knot];
}
HD inline float pull_of_negative(const MatchingArguments& a, int32_t bit, int32_t knot) {
  return a.slopes[bit * slope_count + knot] + a.drift[knot];
}

HD inline float pull_at(const MatchingArguments& a, int32_t entry) {
  const int32_t bit = entry / histogram_bins, place = entry % histogram_bins;
  return place < knot_count ? pull_of_positive(a, bit, place)
                            : pull_of_negative(a, bit, histogram_bins - place);
}

struct MatchingBody {
  MatchingArguments a;

  /// Of one bit: prefix sums of its histogram, and squares of what is missing at the knots.
  struct Comparison {
    double below[histogram_bins];  // whole numbers
    double squares[knot_count];
    LaneValues<double> lanes;
  };

  struct Shared {
    LaneValues<double> sums;
    union {
      LaneValues<int32_t> counts;
      uint32_t bins[block_table];
      float pulls[block_table];  // one for each bit and place
      LaneValues<Flow> flow;
      Comparison bit;
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
  // Sums of squares and non-zero weights of this block's stretches; and the histogram starts from zero.
  HD void measure(const CrewBlock& block, Shared& shared) const {
    const int64_t first_bin = block.begin(a.bits) * histogram_bins;
    block.each(block.end(a.bits) * histogram_bins - first_bin,
               [&](int64_t i) { a.histogram[first_bin + i] = 0; });
    for (int64_t s = block.begin(a.stretch_count); s < block.end(a.stretch_count); ++s) {
      const float* weight = a.layers[a.stretches[s].layer].weight + a.stretches[s].first;
      const int64_t count = a.stretches[s].count;
      const double squares = block.reduce(
          count, 0.0, shared.sums,
          [=](int64_t i) {
            const auto w = static_cast<double>(weight[i]);
            return w * w;
          },
          std::plus<>());
      const int32_t nonzero = block.reduce(
          count, 0, shared.counts, [=](int64_t i) { return weight[i] != 0 ? 1 : 0; }, std::plus<>());
      block.each(1, [&](int64_t) {
        a.square_sums[s] = squares;
        a.nonzero_counts[s] = nonzero;
      });
    }
  }

  HD float scale_of(const CrewBlock& block, const MatchingLayer& layer, Shared& shared) const {
    const auto sum = [&](const double* of_stretches) {
      return block.reduce(
          layer.stretches, 0.0, shared.sums, [=](int64_t i) { return of_stretches[i]; }, std::plus<>());
    };
    const double nonzero = sum(a.nonzero_counts + layer.first_stretch);
    const double squares = sum(a.square_sums + layer.first_stretch);
    return nonzero > 0 ? static_cast<float>(sqrt(squares / nonzero)) : 0.0F;
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

  // Calls add(index, bin, shares) for each weight of a stretch, in order.
  template <typename RowOf, typename Add>
  HD void count(const CrewBlock& block, const MatchingStretch& stretch, const float* weight,
                const uint16_t* carrier, float scale, const RowOf& row_of, const Add& add) const {
    const float units = inverse_of(scale) * bins_per_unit * static_cast<float>(share_unit);
    block.each_prepared<int32_t, Pair>(
        stretch.count,
        [=](int64_t i, int32_t& bin, Pair& shares) {
          share(aligned(weight[i] * units, carrier[i]), row_of(bit_of(carrier[i])), bin, shares);
        },
        add);
  }

  // Where there are few weights, some blocks have only bits and knots to do.
  HD bool has_stretches(const CrewBlock& block) const {
    return block.begin(a.stretch_count) < block.end(a.stretch_count);
  }

  HD void count_in_block(const CrewBlock& block, Shared& shared) const {
    if (!has_stretches(block)) return;
    const auto bits = static_cast<int32_t>(a.bits), first = bits < shifted_bits ? bits : shifted_bits;
    const int64_t used = ShiftedRows()(bits - 1) + histogram_bins;
    const auto clear = [&] { block.each(used, [&](int64_t i) { shared.bins[i] = 0; }); };
    const auto flush = [&] {
      block.atomic_add_all(a.histogram, shared.bins, PlainRows()(first));
      block.atomic_add_all(a.histogram + PlainRows()(first), shared.bins + ShiftedRows()(first),
                           PlainRows()(bits - first));
    };
    clear();
    int64_t round = -1;
    each_stretch(
        block, shared,
        [&](const MatchingStretch& stretch, const float* weight, const uint16_t* carrier, float scale) {
          if (round >= 0 && stretch.round != round) {
            flush();
            clear();
          }
          round = stretch.round;
          uint32_t* const bins_of_block = shared.bins;
          count(block, stretch, weight, carrier, scale, ShiftedRows(),
                [=](int64_t, int32_t bin, const Pair& shares) {
                  block.add_in_block(bins_of_block + bin, shares);
                });
        });
    flush();
  }

  HD void count_in_device_memory(const CrewBlock& block, Shared& shared) const {
    each_stretch(
        block, shared,
        [&](const MatchingStretch& stretch, const float* weight, const uint16_t* carrier, float scale) {
          count(block, stretch, weight, carrier, scale, PlainRows(),
                [&](int64_t, int32_t bin, const Pair& shares) {
                  block.atomic_add(a.histogram + bin, shares.first);
                  block.atomic_add(a.histogram + bin + 1, shares.second);
                });
        });
  }

  // One bit: prefix sums of its histogram are its distribution function; what is missing to the target is its
  // pull.
  HD void compare(const CrewBlock& block, int64_t bit, Shared& shared) const {
    double* const below = shared.bit.below;
    double* const squares = shared.bit.squares;
    const int64_t* histogram = a.histogram + bit * histogram_bins;
    block.each(histogram_bins, [=](int64_t k) { below[k] = static_cast<double>(histogram[k]); });
    block.inclusive_scan(histogram_bins, below, shared.bit.lanes, std::plus<>());
    const double sum = below[histogram_bins - 1];
    const double factor = sum > 0 ? -2 * a.strength * a.mean_weights / (sum / share_unit) : 0;
    const double whole = sum > 0 ? sum : 1, least = a.one_sided ? 0 : -2;
    const float* target = a.target;
    float* const slopes = a.slopes + bit * slope_count;
    block.each(knot_count, [=](int64_t i) {
      const double above = sum - below[knot_count - 1 + i] - below[knot_count - 1 - i];
      double missing = static_cast<double>(target[i]) - above / whole;
      missing = missing < least ? least : missing;
      missing = sum > 0 ? missing : 0;
      squares[i] = missing * missing;
      slopes[i] = static_cast<float>(factor * missing);
    });
    block.each(1, [&](int64_t) {
      slopes[knot_count] = 0;
      double loss = 0.5 * squares[0];
      for (int i = 1; i < knot_count; ++i) loss += squares[i];
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
    if (!has_stretches(block)) return;
    float* const pulls = shared.pulls;
    const MatchingArguments arguments = a;
    block.each(a.bits * knot_count, [=](int64_t i) {
      const auto bit = static_cast<int32_t>(i / knot_count), knot = static_cast<int32_t>(i % knot_count);
      float* const row = pulls + ShiftedRows()(bit);
      row[knot] = pull_of_positive(arguments, bit, knot);
      row[histogram_bins - 1 - knot] = pull_of_negative(arguments, bit, knot + 1);
    });
    pull(block, shared, ShiftedRows(), [=](int32_t entry) { return pulls[entry]; });
  }

  HD void pull_from_device_memory(const CrewBlock& block, Shared& shared) const {
    const MatchingArguments arguments = a;
    pull(block, shared, PlainRows(), [=](int32_t entry) { return pull_at(arguments, entry); });
  }

  struct Pulled {
    float gradient;
    uint16_t carrier;
  };

  template <typename RowOf, typename PullAt>
  HD void pull(const CrewBlock& block, Shared& shared, const RowOf& row_of,
               const PullAt& pull_at_entry) const {
    each_stretch(
        block, shared,
        [&](const MatchingStretch& stretch, const float* weight, const uint16_t* carrier, float scale) {
          float* gradient = a.layers[stretch.layer].gradient + stretch.first;
          const float steps = inverse_of(scale) * bins_per_unit;
          block.each_looked_up(
              stretch.count,
              [=](int64_t i) {
                return entry_of(aligned(weight[i] * steps, carrier[i]), row_of(bit_of(carrier[i])));
              },
              pull_at_entry,
              [=](int64_t i) {
                return Pulled{gradient[i], carrier[i]};
              },
              [=](int64_t i, float pull, const Pulled& before) {
                gradient[i] = before.gradient + scale * aligned(pull, before.carrier);
              });
        });
  }
};

}  // namespace

void match_distributions(Stream stream, const MatchingArguments& a) {
  run_crew<MatchingBody::Shared>(stream, a.most_blocks, MatchingBody{a});
}

}  // namespace dw::DEEPWATER_BACKEND
