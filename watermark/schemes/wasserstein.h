// Matching by squared 2-Wasserstein distance instead of the skew function: for study (docs/watermark.md).
// Every bit's aligned weights are sorted and pulled to the quantiles of the marked density.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/gradient_term.h"
#include "core/module.h"
#include "watermark/claim.h"
#include "watermark/key.h"
#include "watermark/target.h"

namespace dw {

/// Quantiles of p_a(v) = f(v) (1 + a tanh(v / tau)).
class MarkedQuantiles {
 public:
  MarkedQuantiles(const Density& density, double amplitude, double tau);
  /// The v below which this probability, in (0, 1), lies.
  double at(double probability) const;

 private:
  std::vector<double> values_, below_;
};

/// L = (m / T) Σ_j W2²(V_j, p_a); adds λ T s² dL/dw as watermark/embedder.h does. `layers` are the mark's.
std::unique_ptr<GradientTerm> wasserstein_term(const std::vector<NamedTensor>& layers, const Mark& mark,
                                               const OwnerKey& key, const Density& density, double lambda);

}  // namespace dw
