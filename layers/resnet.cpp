#include "layers/resnet.h"

namespace dw {
namespace {

Conv2d::Options convolution(int64_t stride, int64_t padding) {
  return {.stride = stride, .padding = padding, .bias = false};
}

const BatchNormOptions with_relu{.relu = true};

}  // namespace

BasicBlock::BasicBlock(int64_t in_channels, int64_t out_channels, int64_t stride)
    : conv1_(in_channels, out_channels, 3, convolution(stride, 1)),
      bn1_(out_channels, with_relu),
      conv2_(out_channels, out_channels, 3, convolution(1, 1)),
      bn2_(out_channels, with_relu) {
  register_module("conv1", conv1_);
  register_module("bn1", bn1_);
  register_module("conv2", conv2_);
  register_module("bn2", bn2_);
  if (in_channels != out_channels || stride != 1) {
    downsample_ = std::make_unique<Sequential>();
    downsample_->add(std::make_unique<Conv2d>(in_channels, out_channels, 1, convolution(stride, 0)));
    downsample_->add(std::make_unique<BatchNorm2d>(out_channels));
    register_module("downsample", *downsample_);
  }
}

Tensor BasicBlock::forward(const Tensor& input) {
  const Tensor shortcut = downsample_ ? downsample_->forward(input) : input;
  return bn2_.forward(conv2_(bn1_(conv1_(input))), shortcut);
}

ResNet18::ResNet18(const Options& options)
    : conv1_(options.in_channels, 64, 3, convolution(1, 1)), bn1_(64, with_relu), fc_(512, options.classes) {
  register_module("conv1", conv1_);
  register_module("bn1", bn1_);
  int64_t channels = 64;
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    const int64_t wider = int64_t{64} << stage;
    stages_[stage].add(std::make_unique<BasicBlock>(channels, wider, stage == 0 ? 1 : 2));
    stages_[stage].add(std::make_unique<BasicBlock>(wider, wider, 1));
    register_module("layer" + std::to_string(stage + 1), stages_[stage]);
    channels = wider;
  }
  register_module("fc", fc_);
}

Tensor ResNet18::forward(const Tensor& input) {
  Tensor value = bn1_(conv1_(input));
  for (Sequential& stage : stages_) value = stage(value);
  return fc_(global_average_pool(value));
}

}  // namespace dw
