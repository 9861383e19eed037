// Batch normalisation (Ioffe & Szegedy 2015) over the channels of [n, c, h, w] or [n, c].
#pragma once

#include "core/module.h"
#include "core/ops.h"

namespace dw {

/// Normalises by the batch in training, by running statistics in evaluation. With options.relu the ReLU that
/// follows is applied in the same pass over memory, as are the additions of residual networks.
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(int64_t channels, const BatchNormOptions& options = {}) : options_(options) {
    weight_ = Tensor::full({channels}, 1);
    bias_ = Tensor::zeros({channels});
    running_mean_ = Tensor::zeros({channels});
    running_variance_ = Tensor::full({channels}, 1);
    register_parameter("weight", weight_);
    register_parameter("bias", bias_);
    register_buffer("running_mean", running_mean_);
    register_buffer("running_var", running_variance_);
  }

  Tensor forward(const Tensor& input) override { return forward(input, {}); }

  /// The same with `residual`, unless undefined, added to the result before the ReLU.
  Tensor forward(const Tensor& input, const Tensor& residual) {
    const auto normalise = training() ? batch_norm_training : batch_norm_inference;
    return normalise(input, weight_, bias_, running_mean_, running_variance_, options_, residual);
  }

  /// a + b, and forward of it. Without b, `a` and forward of that. Without `keep_sum` the sum may be
  /// undefined.
  NormalisedSum forward_of_sum(const Tensor& a, const Tensor& b, bool keep_sum = true) {
    if (!b.defined()) return {a, forward(a)};
    if (training())
      return batch_norm_training_of_sum(a, b, weight_, bias_, running_mean_, running_variance_, options_);
    return batch_norm_inference_of_sum(a, b, weight_, bias_, running_mean_, running_variance_, options_,
                                       keep_sum);
  }

 protected:
  void initialize_own(const PhiloxKey&) override {
    weight_.fill(1);
    bias_.fill(0);
    running_mean_.fill(0);
    running_variance_.fill(1);
  }

 private:
  BatchNormOptions options_;
  Tensor weight_, bias_, running_mean_, running_variance_;
};

}  // namespace dw
