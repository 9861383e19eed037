// 2-D convolution (cross-correlation, as in PyTorch).
#pragma once

#include "core/module.h"
#include "core/ops.h"

namespace dw {

class Conv2d : public Module {
 public:
  struct Options {
    int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
    bool bias = true;
  };
  /// weight [out, in / groups, kernel, kernel], channels-last in memory.
  Conv2d(int64_t in_channels, int64_t out_channels, int64_t kernel, const Options& options);
  Conv2d(int64_t in_channels, int64_t out_channels, int64_t kernel)
      : Conv2d(in_channels, out_channels, kernel, Options{}) {}

  /// [n, in, h, w] → [n, out, h', w'].
  Tensor forward(const Tensor& input) override;

 protected:
  /// He et al. 2015 for ReLU networks, by fan-out, as wide residual networks are started; bias 0.
  void initialize_own(const PhiloxKey& key) override;

  ConvOptions options_;
  Tensor weight_;
  Tensor bias_;
};

/// A convolution, maximum pooling of what it gives, and ReLU: in this order, which is the same function with
/// the same gradients as the usual one and rectifies fewer values.
class PooledConv2d : public Conv2d {
 public:
  PooledConv2d(int64_t in_channels, int64_t out_channels, int64_t kernel, const Options& options,
               const PoolOptions& pooling)
      : Conv2d(in_channels, out_channels, kernel, options), pooling_(pooling) {}

  /// [n, in, h, w] → [n, out, h'', w''].
  Tensor forward(const Tensor& input) override;

 private:
  PoolOptions pooling_;
};

}  // namespace dw
