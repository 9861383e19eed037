// Wide residual networks, WRN-d-k (Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016), for small
// images.
#pragma once

#include <optional>

#include "layers/batch_norm.h"
#include "layers/convolution.h"
#include "layers/linear.h"
#include "layers/sequential.h"
#include "layers/simple.h"

namespace dw {

/// Pre-activation residual block: bn1, relu, conv1, bn2, relu, (dropout,) conv2, plus the input. Where the
/// shape changes, the input is taken after bn1 and relu and goes through the 1×1 convolution `convShortcut`.
class ResidualBlock : public Module {
 public:
  ResidualBlock(int64_t in_channels, int64_t out_channels, int64_t stride, double dropout);
  Tensor forward(const Tensor& input) override;

 private:
  BatchNorm2d bn1_;
  Conv2d conv1_;
  BatchNorm2d bn2_;
  Dropout dropout_;
  Conv2d conv2_;
  std::optional<Conv2d> shortcut_;
};

/// `depth` = 6 N + 4; widths 16, 16 k, 32 k, 64 k. Parameter names: conv1, block{1,2,3}.layer.{i}.*, bn1, fc.
class WideResNet : public Module {
 public:
  struct Options {
    int64_t depth = 28, width = 10;
    int64_t classes = 10, in_channels = 3;
    double dropout = 0;
  };
  explicit WideResNet(const Options& options);
  /// [n, in_channels, h, w] → [n, classes]; h and w of at least 4.
  Tensor forward(const Tensor& input) override;

 private:
  Conv2d conv1_;
  std::vector<std::unique_ptr<Module>> stages_;
  BatchNorm2d bn1_;
  Linear fc_;
};

}  // namespace dw
