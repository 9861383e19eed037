// Embedding: pulls the distribution of each payload bit's weights towards its target while the host trains.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/gradient_term.h"
#include "core/module.h"
#include "watermark/claim.h"
#include "watermark/key.h"
#include "watermark/target.h"

namespace dw {

/// λ times the learning rate of SGD: what a step moves weights by. At smaller rates a λ of the same size
/// would not bring bits to their target in the few epochs that fine-tuning lasts.
inline constexpr double default_lambda_rate = 0.008;
/// Amplitude up to which a finished network's weights move for a mark without harm; see docs/watermark.md.
inline constexpr double finished_amplitude = 0.25;

struct EmbedOptions {
  double strength = 10;   ///< z*: standard errors by which each bit is to stand out
  double lambda = 0.08;   ///< λ, dimensionless; default_lambda_rate at learning rate 0.1
  double tau = 0.7;       ///< width of the tilt, in units of a layer's scale
  bool one_sided = true;  ///< a bit beyond its target feels nothing ("skew"); else pulled back too ("full")
  bool keep_magnitudes = true;  ///< magnitudes feel no pull on average, so that a layer's distribution stays
  std::string density = "gaussian";  ///< or "host": the network's own magnitudes as they are now
  std::vector<std::string> layers =
      {};  ///< names of weights to mark; empty: every convolution except the stem
};

/// The convolution weights that carry a mark: every parameter of rank 4 except the first, which reads the
/// image.
std::vector<MarkedLayer> default_marked_layers(const Module& network);

/// The tensors of the layers named, or of the default ones where none are. UsageError: names that are not of
/// the network's convolutions, or come twice; a network without any.
std::vector<NamedTensor> tensors_to_mark(const Module& network, const std::vector<std::string>& names);

/// "gaussian", or "host": that of these layers as they are now. UsageError for any other name.
Density density_named(const std::string& name, const std::vector<NamedTensor>& layers);

/// Adds λ T s² dL/dw, less its mean effect on the magnitudes, to the gradients of the marked layers at every
/// training step (docs/watermark.md, section 3).
class Embedder : public GradientTerm {
 public:
  /// `network` must have its device and outlive the embedder. UsageError: layers that are not convolutions of
  /// the network, a payload too large for them at this strength. Error: parameters that are not f32.
  Embedder(const Module& network, const std::string& network_name, const OwnerKey& key,
           const EmbedOptions& options);
  ~Embedder() override;

  /// What the claim must say about this network.
  const Mark& mark() const;

  void add_gradients() override;
  /// L at the last add_gradients().
  double loss() override;
  bool can_be_captured() const override { return true; }
  void bind() override;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace dw
