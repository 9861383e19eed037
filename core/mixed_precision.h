// Training with bf16 activations and products: the network computes with bf16 copies of its matrices and
// filters, while optimizer, mark and files see the f32 weights these are rounded from at every step
// (Micikevicius et al., "Mixed Precision Training", ICLR 2018; bf16 needs no loss scaling). Biases, and
// parameters and statistics of batch norm, stay f32.
#pragma once

#include <functional>
#include <vector>

#include "core/module.h"

namespace dw {

class MixedPrecision {
 public:
  /// `network` outlives this; its parameters are f32.
  explicit MixedPrecision(Module& network);

  /// Runs `forward_and_backward` while the network holds the copies, rounded from its weights now; then the
  /// weights have the copies' gradients, in f32. One launch for all copies, one for all gradients.
  void compute(const std::function<void()>& forward_and_backward);

 private:
  struct Pair {
    Tensor weight, copy;
    Tensor gradient;  // f32, at one address
  };
  void round_weights() const;
  void widen_gradients() const;

  Module& network_;
  std::vector<Tensor> own_, working_;  // all parameters, in order
  std::vector<Pair> pairs_;            // those that have a copy
};

}  // namespace dw
