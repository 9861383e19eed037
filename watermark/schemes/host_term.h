// A scheme's loss on values copied to the host: simple, the same on every device, and slow. Speed is claimed
// for this project's own scheme only, which has a kernel (watermark/bodies/distribution_matching.cpp).
#pragma once

#include <span>
#include <vector>

#include "core/gradient_term.h"
#include "core/module.h"

namespace dw {

class HostTerm : public GradientTerm {
 public:
  /// f32 layers. Adds `lambda` times the loss's derivative to their gradients.
  HostTerm(std::vector<NamedTensor> layers, double lambda);
  void add_gradients() final;
  double loss() final { return loss_; }

 protected:
  /// The loss at these weights, each layer's in canonical order; adds its derivative to `slopes`.
  virtual double evaluate(std::span<const std::vector<float>> weights,
                          std::span<std::vector<float>> slopes) = 0;

 private:
  std::vector<NamedTensor> layers_;
  double lambda_;
  double loss_ = 0;
};

/// Σ_j −log σ(b_j y_j), the binary cross-entropy of logits y with bits b = ±1; `slopes` receives dL/dy_j.
double cross_entropy_of_bits(std::span<const double> logits, std::span<const int8_t> bits,
                             std::span<double> slopes);

}  // namespace dw
