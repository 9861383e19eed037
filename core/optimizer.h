// Optimizers: they own their state (momentum, moments), not the parameters, which they update in place.
#pragma once

#include <string>
#include <vector>

#include "core/module.h"
#include "kernels/table.h"

namespace dw {

class Optimizer {
 public:
  explicit Optimizer(std::vector<NamedTensor> parameters);
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// Updates every parameter that has a gradient. All parameters live on one device.
  virtual void step() = 0;
  /// The rate of the next steps; kept in device memory.
  void set_learning_rate(double rate) { learning_rate_.fill(rate); }
  /// What a checkpoint must hold, named after the parameters.
  virtual std::vector<NamedTensor> state() const = 0;

 protected:
  /// The kernel's view of the parameters that have gradients, each with its own tensor of `first` (and
  /// `second`).
  std::vector<OptimizerTensor> kernel_tensors(const std::vector<Tensor>& first,
                                              const std::vector<Tensor>& second, double weight_decay) const;
  Device device() const { return learning_rate_.device(); }

  std::vector<NamedTensor> parameters_;
  Tensor learning_rate_;  // f64 [1]
};

/// Zeros beside the parameters, made when first asked for: in a first step, memory that activations have
/// given back then serves.
class OptimizerState {
 public:
  const std::vector<Tensor>& beside(const std::vector<NamedTensor>& parameters) const;

 private:
  mutable std::vector<Tensor> tensors_;
};

/// Stochastic gradient descent with (Nesterov) momentum (Sutskever et al. 2013, in PyTorch's form):
/// g ← gradient + weight_decay · w; buf ← momentum · buf + g; w ← w − lr · (nesterov ? g + momentum · buf :
/// buf).
class Sgd : public Optimizer {
 public:
  struct Options {
    double momentum = 0.9;
    bool nesterov = true;
    double weight_decay = 5e-4;
  };
  Sgd(std::vector<NamedTensor> parameters, const Options& options);
  void step() override;
  std::vector<NamedTensor> state() const override;

 private:
  Options options_;
  OptimizerState momentum_;
};

/// Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) with decoupled weight decay.
class Adam : public Optimizer {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    double weight_decay = 0;
    bool decoupled = true;
  };
  Adam(std::vector<NamedTensor> parameters, const Options& options);
  void step() override;
  std::vector<NamedTensor> state() const override;

 private:
  Options options_;
  OptimizerState first_, second_;
  Tensor step_;  // i64 [1]
};

}  // namespace dw
