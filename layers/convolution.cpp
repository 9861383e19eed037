#include "layers/convolution.h"

#include <cmath>

namespace dw {

Conv2d::Conv2d(int64_t in_channels, int64_t out_channels, int64_t kernel, const Options& options)
    : options_{options.stride, options.padding, options.dilation, options.groups} {
  require(options.groups > 0 && in_channels % options.groups == 0 && out_channels % options.groups == 0,
          "a convolution of {} to {} channels cannot have {} groups", in_channels, out_channels,
          options.groups);
  weight_ = Tensor::zeros({out_channels, in_channels / options.groups, kernel, kernel}, DType::f32, cpu,
                          Layout::channels_last);
  register_parameter("weight", weight_);
  if (options.bias) {
    bias_ = Tensor::zeros({out_channels});
    register_parameter("bias", bias_);
  }
}

Tensor Conv2d::forward(const Tensor& input) {
  return conv2d(input, weight_, bias_, options_);
}

Tensor PooledConv2d::forward(const Tensor& input) {
  return conv2d_max_pool2d(input, weight_, bias_, options_, pooling_, true);
}

void Conv2d::initialize_own(const PhiloxKey& key) {
  const auto fan_out = static_cast<double>(weight_.size(0) * weight_.size(2) * weight_.size(3)) /
                       static_cast<double>(options_.groups);
  weight_.copy_from(random_normal(weight_.shape(), key, 0, std::sqrt(2 / fan_out)));
  if (bias_.defined()) bias_.fill(0);
}

}  // namespace dw
