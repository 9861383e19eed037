// Reads the payload out of weights: no data, no forward pass, no tensors. Weights stream past layer by layer,
// once for all keys and as they lie in their file: what is in memory grows with the largest layer, not with
// the network.
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

/// Keys that have nothing to do with the network, to be read beside the owner's: master key i is BLAKE2b of
/// (seed, i), its payload is derived from it and `statement`, as an owner's would be.
struct Strangers {
  const Statement* statement = nullptr;  ///< outlives the reading; null: none
  uint64_t seed = 0;
  int count = 0;
  ReadingProgress progress = {};
};

struct Reading {
  std::vector<double> scores;  ///< one per bit; its sign is the bit, aligned so that positive matches
  Matches matches;
  double bit_error_rate = 0;  ///< of all bits; an erased one counts as an error
  std::vector<LayerReading> layers;
  std::vector<BinomialDraw> strangers;  ///< what each of them matches
};

/// Results do not depend on the number of threads.
class Reader {
 public:
  /// `layers` must be those of the mark: same names, shapes and order; those missing are passed over. Their
  /// weights outlive the reader. Error: a mismatch, and, here or when they are read, a non-finite weight.
  Reader(std::span<const LayerWeights> layers, const Mark& mark);

  /// `payload` has mark.bits entries of +1 or -1. Strangers are read in the same pass, in parallel; a pass
  /// takes many thousands of them.
  Reading read(const Secret& master, std::span<const int8_t> payload, const Strangers& strangers = {}) const;

  /// Strangers alone.
  std::vector<BinomialDraw> read_null(const Strangers& strangers) const;

 private:
  struct Layer {
    std::string name;
    std::vector<int64_t> shape;
    FloatView weights;
    double scale = 0;
    std::vector<float> evidence;  // phi(u) of every weight of a small network; else empty
  };
  struct Owner;

  template <typename Visit>
  void each_layer(const Visit& visit) const;
  double weigh(const Layer& layer, std::span<float> values) const;
  void pass(Owner* owner, std::span<const Secret> strangers, std::span<double> scores,
            const std::function<void(uint64_t)>& advance) const;
  std::vector<BinomialDraw> run(Owner* owner, const Strangers& strangers) const;

  std::vector<Layer> layers_;
  std::vector<size_t> order_;  // of their weights in the file; the mark's in memory
  int bits_ = 0;
  double amplitude_ = 0, tau_ = 0;
};

/// Master key `index` of the null with this seed.
Secret null_master(uint64_t seed, uint64_t index);

}  // namespace dw
