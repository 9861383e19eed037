#include <algorithm>

#include "core/op_support.h"
#include "core/ops.h"
#include "core/tape.h"
#include "kernels/conv_max_pool.h"

namespace dw {
namespace {

ConvShape conv_shape(const Tensor& input, const Tensor& weight, const Tensor& bias,
                     const ConvOptions& options) {
  require(
      input.rank() == 4 && weight.rank() == 4 && options.groups > 0 &&
          input.size(1) == weight.size(1) * options.groups && weight.size(0) % options.groups == 0,
      "conv2d expects input [n, i, h, w] and weight [o, i / groups, kh, kw], found {} and {} with {} groups",
      input.shape(), weight.shape(), options.groups);
  require(input.dtype() == weight.dtype() && input.device() == weight.device(),
          "conv2d expects input and weight of one dtype and device, found {} on {} and {} on {}",
          name_of(input.dtype()), to_string(input.device()), name_of(weight.dtype()),
          to_string(weight.device()));
  require(options.stride > 0 && options.dilation > 0 && options.padding >= 0,
          "conv2d expects stride and dilation of at least 1 and padding of at least 0, found {}, {} and {}",
          options.stride, options.dilation, options.padding);
  if (bias.defined())
    require(bias.shape() == Shape{weight.size(0)}, "conv2d expects a bias of shape {}, found {}",
            Shape{weight.size(0)}, bias.shape());
  ConvShape shape;
  shape.batch = input.size(0);
  shape.in_channels = input.size(1);
  shape.in_height = input.size(2);
  shape.in_width = input.size(3);
  shape.out_channels = weight.size(0);
  shape.kernel_height = weight.size(2);
  shape.kernel_width = weight.size(3);
  shape.stride = options.stride;
  shape.padding = options.padding;
  shape.dilation = options.dilation;
  shape.groups = options.groups;
  shape.dtype = input.dtype();
  const int64_t reach_h = shape.dilation * (shape.kernel_height - 1) + 1;
  const int64_t reach_w = shape.dilation * (shape.kernel_width - 1) + 1;
  require(shape.in_height + 2 * shape.padding >= reach_h && shape.in_width + 2 * shape.padding >= reach_w,
          "conv2d: a {}x{} window does not fit an input of shape {} with padding {}", reach_h, reach_w,
          input.shape(), shape.padding);
  return shape;
}

// Of images [n, c, h, w].
PoolShape pool_shape(const Shape& images, DType dtype, const PoolOptions& options) {
  require(images.size() == 4, "pooling expects input [n, c, h, w], found {}", images);
  PoolShape shape{images[0],      images[2],      images[3],       images[1],
                  options.kernel, options.stride, options.padding, dtype};
  require(shape.kernel > 0 && shape.stride > 0 && shape.padding >= 0 && 2 * shape.padding <= shape.kernel &&
              shape.height + 2 * shape.padding >= shape.kernel &&
              shape.width + 2 * shape.padding >= shape.kernel,
          "pooling with kernel {}, stride {} and padding {} does not fit input {}", shape.kernel,
          shape.stride, shape.padding, images);
  return shape;
}

Tensor pooled_like(const PoolShape& shape, Device device) {
  return Tensor::empty({shape.batch, shape.channels, shape.out_height(), shape.out_width()}, shape.dtype,
                       device, Layout::channels_last);
}

Tensor dense_bias(const Tensor& bias, DType dtype) {
  return bias.defined() ? bias.to(dtype).contiguous() : bias;
}

}  // namespace

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  const ConvShape shape = conv_shape(input, weight, bias, options);
  Tensor out, x;
  {
    const NoGrad pause;
    x = channels_last(input);
    out = Tensor::empty({shape.batch, shape.out_channels, shape.out_height(), shape.out_width()}, shape.dtype,
                        input.device(), Layout::channels_last);
    const Tensor filters = channels_last(weight);
    kernels(x.device()).conv_forward(stream_of(x), shape, x.raw_data(), filters.raw_data(), out.raw_data());
    if (bias.defined())
      add_bias(kernels(x.device()), stream_of(x), shape.dtype,
               {shape.batch * shape.out_height(), shape.out_width(), shape.out_channels},
               dense_bias(bias, shape.dtype).raw_data(), out.raw_data());
  }
  std::vector<Tensor> inputs{input, weight};
  if (bias.defined()) inputs.push_back(bias);
  Tape::record("conv2d", inputs, out, [x, weight, bias, shape](const Tensor& gradient, const Needed& needed) {
    const Tensor incoming = channels_last(gradient);
    Gradients result(bias.defined() ? 3 : 2);
    if (needed[0]) {
      result[0] = Tensor::empty_like(x);
      const Tensor filters = channels_last(weight);
      kernels(x.device())
          .conv_backward_data(stream_of(x), shape, incoming.raw_data(), filters.raw_data(),
                              result[0].raw_data());
    }
    if (needed[1]) {
      result[1] = Tensor::empty(weight.shape(), weight.dtype(), weight.device(), Layout::channels_last);
      kernels(x.device())
          .conv_backward_weight(stream_of(x), shape, x.raw_data(), incoming.raw_data(), result[1].raw_data());
    }
    if (bias.defined() && needed[2])
      result[2] = sum_to(incoming, {1, shape.out_channels, 1, 1}).reshape(bias.shape()).to(bias.dtype());
    return result;
  });
  return out;
}

Tensor max_pool2d(const Tensor& input, const PoolOptions& options) {
  const PoolShape shape = pool_shape(input.shape(), input.dtype(), options);
  const Tensor x = channels_last(input.detach());
  Tensor out = pooled_like(shape, input.device());
  Tensor index;
  if (Tape::tracks(input))
    index = Tensor::empty(out.shape(), DType::i64, input.device(), Layout::channels_last);
  kernels(x.device())
      .max_pool(stream_of(x), shape, x.raw_data(), out.raw_data(),
                index.defined() ? index.data<int64_t>() : nullptr);
  Tape::record("max_pool2d", {input}, out,
               [index, shape, from = input.shape()](const Tensor& gradient, const Needed&) {
                 const Tensor incoming = channels_last(gradient);
                 Tensor result = Tensor::empty(from, shape.dtype, incoming.device(), Layout::channels_last);
                 kernels(incoming.device())
                     .max_pool_backward(stream_of(incoming), shape, incoming.raw_data(),
                                        index.data<int64_t>(), result.raw_data());
                 return Gradients{result};
               });
  return out;
}

// The bias comes last in one pass: rounding keeps order, so the maximum may as well get it as every value
// that it is of.
Tensor conv2d_max_pool2d(const Tensor& input, const Tensor& weight, const Tensor& bias,
                         const ConvOptions& conv_options, const PoolOptions& pool_options, bool with_relu) {
  if (Tape::tracks(input) || Tape::tracks(weight) || Tape::tracks(bias)) {
    const Tensor pooled = max_pool2d(conv2d(input, weight, bias, conv_options), pool_options);
    return with_relu ? relu(pooled) : pooled;
  }
  const ConvShape conv = conv_shape(input, weight, bias, conv_options);
  const PoolShape pool = pool_shape({conv.batch, conv.out_channels, conv.out_height(), conv.out_width()},
                                    conv.dtype, pool_options);
  Tensor out = pooled_like(pool, input.device());
  const Tensor x = channels_last(input), filters = channels_last(weight);
  const Tensor added = dense_bias(bias, conv.dtype);
  kernels(out.device())
      .conv_max_pool(stream_of(out), conv, pool, x.raw_data(), filters.raw_data(),
                     added.defined() ? added.raw_data() : nullptr, with_relu, out.raw_data());
  return out;
}

Tensor average_pool2d(const Tensor& input, const PoolOptions& options) {
  const PoolShape shape = pool_shape(input.shape(), input.dtype(), options);
  const Tensor x = channels_last(input.detach());
  Tensor out = pooled_like(shape, input.device());
  kernels(x.device()).average_pool(stream_of(x), shape, x.raw_data(), out.raw_data());
  Tape::record(
      "average_pool2d", {input}, out, [shape, from = input.shape()](const Tensor& gradient, const Needed&) {
        const Tensor incoming = channels_last(gradient);
        Tensor result = Tensor::empty(from, shape.dtype, incoming.device(), Layout::channels_last);
        kernels(incoming.device())
            .average_pool_backward(stream_of(incoming), shape, incoming.raw_data(), result.raw_data());
        return Gradients{result};
      });
  return out;
}

Tensor global_average_pool(const Tensor& input) {
  require(input.rank() == 4, "pooling expects input [n, c, h, w], found {}", input.shape());
  return mean(input, {2, 3});
}

}  // namespace dw
