// What the fused distribution-matching kernel takes; between watermark/embedder.cpp and its single-source
// body.
//
// Every weight belongs to one payload bit and has a known sign; v = sign · w / scale. One launch, three
// passes over all layers,
//   scales      reads every weight:                      4 B a weight
//   histograms  reads weight and carrier:                6 B a weight, adds two shares to a [bits, 64]
//   gradients   reads weight, carrier, gradient, writes: 14 B a weight
// with small steps, a bit or a knot at a time, in between: 24 B a weight, 14 of them unavoidable. No
// temporary has the size of the weights.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace dw {

/// The histogram's fixed point: a weight's two shares add up to this.
inline constexpr uint32_t share_unit = 1U << 20;
/// Most weights of one bit that a round may hold, so that a 32-bit bin cannot overflow.
inline constexpr int64_t most_weights_of_a_bit = (int64_t{1} << 32) / share_unit - 1;
/// Weights of a stretch, but for the last of a layer: few, so that blocks have equal shares, and never too
/// many for a round.
inline constexpr int64_t stretch_weights = most_weights_of_a_bit / 256 * 256;
/// Payloads up to this size are counted in a block's own memory first; larger ones directly in device memory.
inline constexpr int64_t most_bits_in_a_block = 256;
inline constexpr int histogram_bins = 64;
/// Of a bit's slopes: one a knot, and a last one that is 0, for weights beyond the last knot.
inline constexpr int slope_count = histogram_bins / 2 + 1;

/// A marked layer. `weight` and `gradient` are dense f32 in one memory order.
struct MatchingLayer {
  const float* weight = nullptr;
  float* gradient = nullptr;
  const uint16_t* carrier =
      nullptr;  ///< [count] top bit: the aligned sign is negative; the rest: the owning bit
  int64_t first_stretch = 0, stretches = 0;
};

/// What a block takes at a time: weights [first, first + count) of a layer. Blocks empty their own histograms
/// between rounds: no bit has more than most_weights_of_a_bit in one.
struct MatchingStretch {
  int64_t layer = 0;
  int64_t first = 0;
  int64_t count = 0;
  int64_t round = 0;
};

/// All pointers are memory of the stream's device.
struct MatchingArguments {
  const MatchingLayer* layers = nullptr;
  int64_t layer_count = 0;
  const MatchingStretch* stretches = nullptr;  ///< in the order of the layers
  int64_t stretch_count = 0;
  int64_t most_blocks = 1;  ///< that share the work: results do not depend on it
  int64_t bits = 0;
  double mean_weights = 0;           ///< m: weights a bit, on average
  const float* target = nullptr;     ///< [32] S* at the knots
  bool one_sided = true;             ///< a bit beyond its target feels nothing
  double strength = 0;               ///< λ
  double* square_sums = nullptr;     ///< [stretches]
  double* nonzero_counts = nullptr;  ///< [stretches]
  int64_t* histogram = nullptr;      ///< [bits, 64]
  float* slopes = nullptr;           ///< [bits, slope_count] λ T dL/dv, by |v| in knot steps
  double* losses = nullptr;          ///< [bits] each bit's share of the loss
  bool keep_magnitudes = true;       ///< take out what the slopes would do to the magnitudes' distribution
  float* drift = nullptr;  ///< [slope_count] mean outward slope of all weights of that |v|; 0 if not kept
};

namespace cpu_backend {
void match_distributions(Stream stream, const MatchingArguments& arguments);
}
namespace cuda_backend {
void match_distributions(Stream stream, const MatchingArguments& arguments);
}

}  // namespace dw
