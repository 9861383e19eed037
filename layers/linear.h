// Fully connected layer.
#pragma once

#include <cmath>

#include "core/module.h"
#include "core/ops.h"

namespace dw {

/// y = x · weightᵀ + bias; x [n, in], weight [out, in].
class Linear : public Module {
 public:
  Linear(int64_t in_features, int64_t out_features, bool bias = true) {
    weight_ = Tensor::zeros({out_features, in_features});
    register_parameter("weight", weight_);
    if (bias) {
      bias_ = Tensor::zeros({out_features});
      register_parameter("bias", bias_);
    }
  }

  Tensor forward(const Tensor& input) override { return linear(input, weight_, bias_); }

 protected:
  /// Uniform within ±1/√in; bias 0.
  void initialize_own(const PhiloxKey& key) override {
    const double bound = 1 / std::sqrt(static_cast<double>(weight_.size(1)));
    weight_.copy_from(random_uniform(weight_.shape(), key, -bound, bound));
    if (bias_.defined()) bias_.fill(0);
  }

 private:
  Tensor weight_, bias_;
};

}  // namespace dw
