// Reads the payload out of weights: no data, no forward pass, no tensors. Weights stream past in chunks: what
// is in memory does not grow with the network.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "watermark/claim.h"
#include "watermark/key.h"
#include "watermark/statistics.h"

namespace dw {

/// A view of one layer's weights, OIHW, row-major; no weights: the suspect lacks this layer.
struct LayerWeights {
  std::string name;
  std::vector<int64_t> shape;
  FloatView weights;
};

/// Calls visit(first, values) for the layer's weights in chunks, in order.
void each_chunk(const FloatView& weights,
                const std::function<void(size_t first, std::span<const float> values)>& visit);

/// Told how many weights a long reading has behind it; a reading may pass over them more than once.
using ReadingProgress = std::function<void(uint64_t done, uint64_t total)>;

/// Root mean square of the non-zero weights: the layer's unit. 0 where all are zero. Error: a weight that is
/// not finite.
double scale_of(const LayerWeights& layer);

/// Bits whose score is exactly zero (all their weights pruned) say nothing: they are erased. `matches` counts
/// among the `readable` others, and only those are evidence.
struct Matches {
  int matches = 0;
  int readable = 0;
};

struct LayerReading {
  std::string name;
  uint64_t weights = 0;
  double scale = 0;
  Matches matches;  ///< reading this layer alone
  bool present = true;
  double log2_p = 0;  ///< of this layer alone, one alternative
};

struct Reading {
  std::vector<double> scores;  ///< one per bit; its sign is the bit, aligned so that positive matches
  Matches matches;
  double bit_error_rate = 0;  ///< of all bits; an erased one counts as an error
  std::vector<LayerReading> layers;
};

/// Results do not depend on the number of threads.
class Reader {
 public:
  /// `layers` must be those of the mark: same names, shapes and order; those missing are passed over. Their
  /// weights outlive the reader. Error: a mismatch, a non-finite weight.
  Reader(std::span<const LayerWeights> layers, const Mark& mark);

  /// `payload` has mark.bits entries of +1 or -1.
  Reading read(const Secret& master, std::span<const int8_t> payload) const;

  /// What `count` keys that have nothing to do with the network match: master key i is BLAKE2b of (seed, i),
  /// its payload is derived from it and `statement`, as an owner's would be. In parallel.
  std::vector<BinomialDraw> read_null(const Statement& statement, uint64_t seed, int count,
                                      const ReadingProgress& progress = {}) const;

 private:
  struct Layer {
    std::string name;
    std::vector<int64_t> shape;
    FloatView weights;
    double scale = 0;
    std::vector<float> evidence;  // phi(u) of every weight of a small network; else empty
  };
  template <typename Visit>
  void each_evidence(const Layer& layer, const Visit& visit) const;
  void weigh(const Layer& layer, std::span<const float> weights, std::span<float> evidence) const;

  std::vector<Layer> layers_;
  int bits_ = 0;
  double amplitude_ = 0, tau_ = 0;
};

/// Master key `index` of the null with this seed.
Secret null_master(uint64_t seed, uint64_t index);

}  // namespace dw
