// Wide residual networks, WRN-d-k (Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016), for small
// images.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "layers/batch_norm.h"
#include "layers/convolution.h"
#include "layers/linear.h"
#include "layers/simple.h"

namespace dw {

/// Pre-activation residual block: bn1, relu, conv1, bn2, relu, (dropout,) conv2, plus the input. Where the
/// shape changes, the input is taken after bn1 and relu and goes through the 1×1 convolution `convShortcut`.
class ResidualBlock : public Module {
 public:
  ResidualBlock(int64_t in_channels, int64_t out_channels, int64_t stride, double dropout);
  Tensor forward(const Tensor& input) override;

  /// An input or output before it is added up, which the batch norm of the next block does as it reads.
  struct Summands {
    Tensor shortcut, residual;  ///< the second may be undefined
  };
  Summands forward(const Summands& input);

 private:
  BatchNorm2d bn1_;
  Conv2d conv1_;
  BatchNorm2d bn2_;
  Dropout dropout_;
  Conv2d conv2_;
  std::optional<Conv2d> shortcut_;
};

/// One of the three stages: residual blocks under "layer.0", "layer.1", ...
class WideStage : public Module {
 public:
  WideStage(int64_t blocks, int64_t in_channels, int64_t out_channels, int64_t stride, double dropout);
  Tensor forward(const Tensor& input) override;
  ResidualBlock::Summands forward(ResidualBlock::Summands value);

 private:
  std::vector<std::unique_ptr<ResidualBlock>> blocks_;
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
  std::vector<std::unique_ptr<WideStage>> stages_;
  BatchNorm2d bn1_;
  Linear fc_;
};

}  // namespace dw
