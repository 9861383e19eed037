#include "layers/wide_resnet.h"

namespace dw {
namespace {

Conv2d::Options convolution(int64_t stride, int64_t padding) {
  return {.stride = stride, .padding = padding, .bias = false};
}

const BatchNormOptions with_relu{.relu = true};

Tensor sum_of(const ResidualBlock::Summands& value) {
  return value.residual.defined() ? value.shortcut + value.residual : value.shortcut;
}

}  // namespace

ResidualBlock::ResidualBlock(int64_t in_channels, int64_t out_channels, int64_t stride, double dropout)
    : bn1_(in_channels, with_relu),
      conv1_(in_channels, out_channels, 3, convolution(stride, 1)),
      bn2_(out_channels, with_relu),
      dropout_(dropout),
      conv2_(out_channels, out_channels, 3, convolution(1, 1)) {
  register_module("bn1", bn1_);
  register_module("conv1", conv1_);
  register_module("bn2", bn2_);
  register_module("dropout", dropout_);
  register_module("conv2", conv2_);
  if (in_channels != out_channels || stride != 1) {
    shortcut_.emplace(in_channels, out_channels, 1, convolution(stride, 0));
    register_module("convShortcut", *shortcut_);
  }
}

ResidualBlock::Summands ResidualBlock::forward(const Summands& input) {
  const auto [sum, activated] = bn1_.forward_of_sum(input.shortcut, input.residual, !shortcut_);
  const Tensor residual = conv2_(dropout_(bn2_(conv1_(activated))));
  return {shortcut_ ? shortcut_->forward(activated) : sum, residual};
}

Tensor ResidualBlock::forward(const Tensor& input) {
  return sum_of(forward(Summands{input, {}}));
}

WideStage::WideStage(int64_t blocks, int64_t in_channels, int64_t out_channels, int64_t stride,
                     double dropout) {
  for (int64_t i = 0; i < blocks; ++i) {
    blocks_.push_back(std::make_unique<ResidualBlock>(i == 0 ? in_channels : out_channels, out_channels,
                                                      i == 0 ? stride : 1, dropout));
    register_module("layer." + std::to_string(i), *blocks_.back());
  }
}

ResidualBlock::Summands WideStage::forward(ResidualBlock::Summands value) {
  for (const auto& block : blocks_) value = block->forward(value);
  return value;
}

Tensor WideStage::forward(const Tensor& input) {
  return sum_of(forward(ResidualBlock::Summands{input, {}}));
}

WideResNet::WideResNet(const Options& options)
    : conv1_(options.in_channels, 16, 3, convolution(1, 1)),
      bn1_(64 * options.width, with_relu),
      fc_(64 * options.width, options.classes) {
  require(options.depth >= 10 && (options.depth - 4) % 6 == 0 && options.width >= 1,
          "a WRN-d-k has depth d = 6 N + 4 of at least 10 and width k of at least 1, found d = {} and k = {}",
          options.depth, options.width);
  const int64_t blocks = (options.depth - 4) / 6;
  register_module("conv1", conv1_);
  int64_t channels = 16;
  for (int64_t stage = 0; stage < 3; ++stage) {
    const int64_t widened = (int64_t{16} << stage) * options.width;
    stages_.push_back(
        std::make_unique<WideStage>(blocks, channels, widened, stage == 0 ? 1 : 2, options.dropout));
    register_module("block" + std::to_string(stage + 1), *stages_.back());
    channels = widened;
  }
  register_module("bn1", bn1_);
  register_module("fc", fc_);
}

Tensor WideResNet::forward(const Tensor& input) {
  ResidualBlock::Summands value{conv1_(input), {}};
  for (const auto& stage : stages_) value = stage->forward(value);
  return fc_(global_average_pool(bn1_.forward_of_sum(value.shortcut, value.residual, false).out));
}

}  // namespace dw
