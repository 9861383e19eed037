#include <algorithm>

#include "core/ops.h"
#include "core/random.h"
#include "core/tape.h"

namespace dw {
namespace {

Stream stream_of(const Tensor& tensor) {
  return current_stream(tensor.device());
}

Tensor channels_last(const Tensor& tensor) {
  return tensor.contiguous(Layout::channels_last);
}

ConvShape conv_shape(const Tensor& input, const Tensor& weight, const ConvOptions& options) {
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

// What a batch norm reads, as kernels take it: [n, c, h, w] (channels-last) or [n, c] as [rows, channels].
struct BatchNormInputs {
  Tensor input, addend, residual;  // the last two may be undefined
  Tensor weight, bias;
  BatchNormShape shape;
};

BatchNormInputs batch_norm_inputs(const Tensor& input, const Tensor& addend, const Tensor& residual,
                                  const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                                  const Tensor& running_variance, const BatchNormOptions& options) {
  require((input.rank() == 4 || input.rank() == 2) && weight.shape() == Shape{input.size(1)},
          "batch norm expects input [n, c, h, w] or [n, c] and weight [c], found {} and {}", input.shape(),
          weight.shape());
  require(running_mean.shape() == weight.shape() && running_variance.shape() == weight.shape() &&
              running_mean.is_dense() && running_variance.is_dense(),
          "batch norm expects dense running statistics {}, found {} and {}", weight.shape(),
          running_mean.shape(), running_variance.shape());
  BatchNormInputs inputs{channels_last(input), {}, {}, weight.contiguous(), bias.contiguous(), {}};
  for (const auto& [from, to] : {std::pair{&addend, &inputs.addend}, {&residual, &inputs.residual}}) {
    if (!from->defined()) continue;
    require(from->shape() == input.shape() && from->dtype() == input.dtype(),
            "batch norm expects what is added to be {} {}, found {} {}", name_of(input.dtype()),
            input.shape(), name_of(from->dtype()), from->shape());
    *to = channels_last(*from);
  }
  inputs.shape.channels = input.size(1);
  inputs.shape.rows = input.numel() / std::max<int64_t>(1, input.size(1));
  inputs.shape.dtype = input.dtype();
  inputs.shape.relu = options.relu;
  inputs.shape.epsilon = options.epsilon;
  inputs.shape.momentum = options.momentum;
  return inputs;
}

void* memory_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.raw_data() : nullptr;
}

// Where something was added.
void record_sum(const Tensor& input, const Tensor& addend, const Tensor& sum) {
  if (!addend.defined()) return;
  Tape::record("add", {input, addend}, sum, [](const Tensor& gradient, const Needed&) {
    return Gradients{gradient, gradient};
  });
}

// Batch norm in training of input + addend, with a residual behind it; either may be undefined. Returns the
// sum, or the input where nothing is added.
NormalisedSum normalise_batch(const Tensor& input, const Tensor& addend, const Tensor& residual,
                              const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                              const Tensor& running_variance, const BatchNormOptions& options) {
  BatchNormInputs x;
  NormalisedSum result;
  Tensor saved_mean, saved_inverse_deviation;
  {
    const NoGrad pause;
    x = batch_norm_inputs(input, addend, residual, weight, bias, running_mean, running_variance, options);
    require(x.shape.rows > 1, "batch norm in training expects more than one value a channel, found input {}",
            input.shape());
    result = {addend.defined() ? Tensor::empty_like(x.input) : input, Tensor::empty_like(x.input)};
    saved_mean = Tensor::empty_like(x.weight);
    saved_inverse_deviation = Tensor::empty_like(x.weight);
    kernels(input.device())
        .batch_norm_training(stream_of(input), x.shape,
                             {.in = x.input.raw_data(),
                              .addend = memory_of(x.addend),
                              .sum = addend.defined() ? result.sum.raw_data() : nullptr,
                              .weight = x.weight.raw_data(),
                              .bias = x.bias.raw_data(),
                              .running_mean = running_mean.raw_data(),
                              .running_variance = running_variance.raw_data(),
                              .residual = memory_of(x.residual),
                              .out = result.out.raw_data(),
                              .saved_mean = saved_mean.raw_data(),
                              .saved_inverse_deviation = saved_inverse_deviation.raw_data()});
  }
  record_sum(input, addend, result.sum);
  if (addend.defined()) x.input = result.sum.detach();
  const bool gated_by_output = residual.defined() && options.relu;
  std::vector<Tensor> inputs{result.sum, weight, bias};
  if (residual.defined()) inputs.push_back(residual);
  Tape::record(
      "batch_norm", inputs, result.out,
      [input = x.input, scale = x.weight, shift = x.bias, shape = x.shape, saved_mean,
       saved_inverse_deviation, out = gated_by_output ? result.out.detach() : Tensor(),
       with_residual = residual.defined()](const Tensor& gradient, const Needed& needed) {
        const Tensor incoming = channels_last(gradient);
        const Tensor so_far = needed.take_sum(0);
        const Tensor added = so_far.defined() ? channels_last(so_far) : Tensor();
        Gradients slopes{Tensor::empty_like(input), Tensor::empty_like(scale), Tensor::empty_like(scale)};
        const Tensor residual_slope = out.defined() ? Tensor::empty_like(input) : Tensor();
        kernels(incoming.device())
            .batch_norm_backward(stream_of(incoming), shape,
                                 {.out_gradient = incoming.raw_data(),
                                  .in = input.raw_data(),
                                  .out = memory_of(out),
                                  .weight = scale.raw_data(),
                                  .bias = shift.raw_data(),
                                  .saved_mean = saved_mean.raw_data(),
                                  .saved_inverse_deviation = saved_inverse_deviation.raw_data(),
                                  .residual_gradient = memory_of(residual_slope),
                                  .in_gradient_so_far = memory_of(added),
                                  .in_gradient = slopes[0].raw_data(),
                                  .weight_gradient = slopes[1].raw_data(),
                                  .bias_gradient = slopes[2].raw_data()});
        if (with_residual) slopes.push_back(out.defined() ? residual_slope : gradient);
        return slopes;
      });
  return result;
}

// Batch norm by running statistics of input + addend, with a residual behind it; either may be undefined.
// Returns the sum too, where it is kept, or the input where nothing is added.
NormalisedSum normalise_by_statistics(const Tensor& input, const Tensor& addend, const Tensor& residual,
                                      const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                                      const Tensor& running_variance, const BatchNormOptions& options,
                                      bool keep_sum) {
  BatchNormInputs x;
  NormalisedSum result;
  const bool tracked =
      Tape::tracks(input) || Tape::tracks(addend) || Tape::tracks(weight) || Tape::tracks(bias);
  {
    const NoGrad pause;
    x = batch_norm_inputs(input, addend, residual, weight, bias, running_mean, running_variance, options);
    if (!addend.defined())
      result.sum = input;
    else if (keep_sum || tracked)
      result.sum = Tensor::empty_like(x.input);
    result.out = Tensor::empty_like(x.input);
    kernels(input.device())
        .batch_norm_inference(stream_of(input), x.shape,
                              {.in = x.input.raw_data(),
                               .addend = memory_of(x.addend),
                               .sum = addend.defined() ? memory_of(result.sum) : nullptr,
                               .weight = x.weight.raw_data(),
                               .bias = x.bias.raw_data(),
                               .running_mean = running_mean.raw_data(),
                               .running_variance = running_variance.raw_data(),
                               .residual = memory_of(x.residual),
                               .out = result.out.raw_data()});
  }
  if (!result.sum.defined()) return result;
  record_sum(input, addend, result.sum);
  std::vector<Tensor> inputs{result.sum, weight, bias};
  if (residual.defined()) inputs.push_back(residual);
  // With fixed statistics the layer is y = x · scale + shift, and that is all its gradients need.
  Tape::record(
      "batch_norm_inference", inputs, result.out,
      [input = result.sum.detach(), weight, running_mean, running_variance,
       out = options.relu ? result.out : Tensor(), options,
       with_residual = residual.defined()](const Tensor& gradient, const Needed&) {
        const Shape per_channel = input.rank() == 4 ? Shape{1, input.size(1), 1, 1} : Shape{1, input.size(1)};
        const Tensor incoming = out.defined()
                                    ? where(greater(out, Tensor::zeros({}, out.dtype(), out.device())),
                                            gradient, Tensor::zeros({}, out.dtype(), out.device()))
                                    : gradient;
        const Tensor inverse = power(add(running_variance, options.epsilon), -0.5);
        const Tensor normal = (input - running_mean.reshape(per_channel)) * inverse.reshape(per_channel);
        Gradients slopes{incoming * (weight * inverse).reshape(per_channel),
                         sum_to(incoming * normal, per_channel).reshape(weight.shape()),
                         sum_to(incoming, per_channel).reshape(weight.shape())};
        if (with_residual) slopes.push_back(incoming);
        return slopes;
      });
  return result;
}

PoolShape pool_shape(const Tensor& input, const PoolOptions& options) {
  require(input.rank() == 4, "pooling expects input [n, c, h, w], found {}", input.shape());
  PoolShape shape{input.size(0),  input.size(2),  input.size(3),   input.size(1),
                  options.kernel, options.stride, options.padding, input.dtype()};
  require(shape.kernel > 0 && shape.stride > 0 && shape.padding >= 0 && 2 * shape.padding <= shape.kernel &&
              shape.height + 2 * shape.padding >= shape.kernel &&
              shape.width + 2 * shape.padding >= shape.kernel,
          "pooling with kernel {}, stride {} and padding {} does not fit input {}", shape.kernel,
          shape.stride, shape.padding, input.shape());
  return shape;
}

// Adds to every channel in place, a whole row of pixels at a time: a run of so few channels as small networks
// have would take longer to find than to add.
void add_bias(const Tensor& images, const Tensor& bias) {
  const Tensor row = bias.to(images.dtype())
                         .reshape({1, images.size(1), 1, 1})
                         .expand({1, images.size(1), 1, images.size(3)})
                         .contiguous(Layout::channels_last);
  kernels(images.device()).binary(stream_of(images), BinaryOp::add, images.view(), row.view(), images.view());
}

}  // namespace

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  const ConvShape shape = conv_shape(input, weight, options);
  if (bias.defined())
    require(bias.shape() == Shape{shape.out_channels}, "conv2d expects a bias of shape {}, found {}",
            Shape{shape.out_channels}, bias.shape());
  Tensor out, x;
  {
    const NoGrad pause;
    x = channels_last(input);
    out = Tensor::empty({shape.batch, shape.out_channels, shape.out_height(), shape.out_width()}, shape.dtype,
                        input.device(), Layout::channels_last);
    const Tensor filters = channels_last(weight);
    kernels(x.device()).conv_forward(stream_of(x), shape, x.raw_data(), filters.raw_data(), out.raw_data());
    if (bias.defined()) add_bias(out, bias);
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

Tensor batch_norm_training(const Tensor& input, const Tensor& weight, const Tensor& bias,
                           const Tensor& running_mean, const Tensor& running_variance,
                           const BatchNormOptions& options, const Tensor& residual) {
  return normalise_batch(input, {}, residual, weight, bias, running_mean, running_variance, options).out;
}

NormalisedSum batch_norm_training_of_sum(const Tensor& a, const Tensor& b, const Tensor& weight,
                                         const Tensor& bias, const Tensor& running_mean,
                                         const Tensor& running_variance, const BatchNormOptions& options) {
  return normalise_batch(a, b, {}, weight, bias, running_mean, running_variance, options);
}

Tensor batch_norm_inference(const Tensor& input, const Tensor& weight, const Tensor& bias,
                            const Tensor& running_mean, const Tensor& running_variance,
                            const BatchNormOptions& options, const Tensor& residual) {
  return normalise_by_statistics(input, {}, residual, weight, bias, running_mean, running_variance, options,
                                 true)
      .out;
}

NormalisedSum batch_norm_inference_of_sum(const Tensor& a, const Tensor& b, const Tensor& weight,
                                          const Tensor& bias, const Tensor& running_mean,
                                          const Tensor& running_variance, const BatchNormOptions& options,
                                          bool keep_sum) {
  return normalise_by_statistics(a, b, {}, weight, bias, running_mean, running_variance, options, keep_sum);
}

Tensor max_pool2d(const Tensor& input, const PoolOptions& options) {
  const PoolShape shape = pool_shape(input, options);
  const Tensor x = channels_last(input.detach());
  Tensor out = Tensor::empty({shape.batch, shape.channels, shape.out_height(), shape.out_width()},
                             shape.dtype, input.device(), Layout::channels_last);
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

Tensor average_pool2d(const Tensor& input, const PoolOptions& options) {
  const PoolShape shape = pool_shape(input, options);
  const Tensor x = channels_last(input.detach());
  Tensor out = Tensor::empty({shape.batch, shape.channels, shape.out_height(), shape.out_width()},
                             shape.dtype, input.device(), Layout::channels_last);
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

Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  require(logits.rank() == 2 && labels.dtype() == DType::i64 && labels.shape() == Shape{logits.size(0)} &&
              logits.numel() > 0,
          "cross entropy expects logits [n, classes] and i64 labels [n], found {} and {} {}", logits.shape(),
          name_of(labels.dtype()), labels.shape());
  const int64_t rows = logits.size(0);
  const DType loss_dtype = logits.dtype() == DType::bf16 ? DType::f32 : logits.dtype();
  const Tensor losses = Tensor::empty({rows}, loss_dtype, logits.device());
  Tensor slope, out;
  {
    const NoGrad pause;
    const Tensor dense = logits.contiguous();
    slope = Tensor::empty_like(dense);
    kernels(logits.device())
        .softmax_cross_entropy(stream_of(logits), dense.view(), labels.view(), losses.view(), slope.view());
    out = mean(losses);
  }
  Tape::record("cross_entropy", {logits}, out, [slope, rows](const Tensor& gradient, const Needed&) {
    return Gradients{multiply(slope, 1.0 / static_cast<double>(rows)) * gradient.to(slope.dtype())};
  });
  return out;
}

Tensor dropout(const Tensor& input, double probability) {
  require(probability >= 0 && probability < 1, "dropout expects a probability in [0, 1), found {}",
          probability);
  if (probability == 0) return input;
  const Tensor mask = Tensor::empty_like(input);
  kernels(input.device())
      .bernoulli(stream_of(input), RandomScope::next_key(), mask.view(), 1 - probability,
                 1 / (1 - probability));
  return input * mask;
}

}  // namespace dw
