// Residual networks (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016) for small images:
// the stem is one 3×3 convolution, without pooling. Parameter names and shapes are torchvision's.
#pragma once

#include <array>
#include <memory>

#include "layers/batch_norm.h"
#include "layers/convolution.h"
#include "layers/linear.h"
#include "layers/sequential.h"

namespace dw {

/// Post-activation residual block: conv1, bn1, relu, conv2, bn2, plus the input, relu. Where the shape
/// changes, the input goes through `downsample`: a 1×1 convolution "0" and batch norm "1".
class BasicBlock : public Module {
 public:
  BasicBlock(int64_t in_channels, int64_t out_channels, int64_t stride);
  Tensor forward(const Tensor& input) override;

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  std::unique_ptr<Sequential> downsample_;
};

/// ResNet-18: four stages of two blocks, of 64, 128, 256 and 512 channels. Parameter names: conv1, bn1,
/// layer{1,2,3,4}.{0,1}.*, fc.
class ResNet18 : public Module {
 public:
  struct Options {
    int64_t classes = 10, in_channels = 3;
  };
  explicit ResNet18(const Options& options);
  /// [n, in_channels, h, w] → [n, classes].
  Tensor forward(const Tensor& input) override;

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  std::array<Sequential, 4> stages_;
  Linear fc_;
};

}  // namespace dw
