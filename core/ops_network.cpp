#include <algorithm>

#include "core/op_support.h"
#include "core/ops.h"
#include "core/random.h"
#include "core/tape.h"

namespace dw {
namespace {

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

}  // namespace

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
