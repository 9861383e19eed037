#include <memory>

#include "core/ops.h"
#include "core/random.h"
#include "layers/networks.h"
#include "layers/sequential.h"
#include "layers/wide_resnet.h"
#include "tests/op_cases.h"

namespace dw {
namespace {

using Inputs = std::vector<Tensor>;

struct ConvCase {
  int64_t batch, in, out, height, width, kernel_height, kernel_width;
  ConvOptions options;
};

void add_convolutions(std::vector<OpCase>& cases) {
  const std::vector<ConvCase> list{
      {2, 3, 4, 5, 6, 3, 3, {.stride = 1, .padding = 1}},
      {1, 2, 3, 7, 5, 3, 3, {.stride = 2, .padding = 1}},
      {2, 4, 2, 4, 4, 1, 1, {}},
      {3, 3, 5, 5, 5, 1, 1, {.stride = 2}},
      {1, 1, 1, 6, 6, 5, 3, {.padding = 2}},
      {2, 4, 6, 6, 5, 3, 3, {.padding = 1, .groups = 2}},
      {2, 3, 3, 5, 5, 3, 3, {.padding = 1, .groups = 3}},
      {1, 2, 2, 9, 8, 3, 3, {.padding = 2, .dilation = 2}},
      {1, 2, 3, 8, 8, 3, 2, {.stride = 3}},
  };
  for (const ConvCase& c : list) {
    cases.push_back({fmt::format("conv2d {}x{}x{}x{} by {}x{}x{}, stride {} padding {} dilation {} groups {}",
                                 c.batch, c.in, c.height, c.width, c.out, c.kernel_height, c.kernel_width,
                                 c.options.stride, c.options.padding, c.options.dilation, c.options.groups),
                     {{{c.batch, c.in, c.height, c.width}},
                      {{c.out, c.in / c.options.groups, c.kernel_height, c.kernel_width}},
                      {{c.out}}},
                     [options = c.options](const Inputs& x) { return conv2d(x[0], x[1], x[2], options); }});
  }
}

void add_batch_norms(std::vector<OpCase>& cases) {
  for (const Shape& shape : {Shape{3, 4, 2, 5}, Shape{1, 3, 3, 3}, Shape{6, 5}}) {
    for (const bool with_relu : {false, true}) {
      const int64_t channels = shape[1];
      const BatchNormOptions options{.relu = with_relu};
      const std::string name =
          fmt::format("{} of {}", with_relu ? "batch_norm with relu" : "batch_norm", to_string(shape));
      const std::vector<OpInput> inputs{{shape}, {{channels}, Values::positive}, {{channels}}};
      std::vector<OpInput> two_inputs = inputs;
      two_inputs.push_back({shape});
      const auto statistic = [channels](const Tensor& like, double value) {
        return Tensor::full({channels}, value, like.dtype(), like.device());
      };
      const auto training = [options, statistic](const Inputs& x, const Tensor& residual) {
        return batch_norm_training(x[0], x[1], x[2], statistic(x[0], 0), statistic(x[0], 1), options,
                                   residual);
      };
      const auto inference = [options, statistic](const Inputs& x, const Tensor& residual) {
        return batch_norm_inference(x[0], x[1], x[2], statistic(x[0], 0.3), statistic(x[0], 1.7), options,
                                    residual);
      };
      cases.push_back({name + ", training", inputs, [training](const Inputs& x) { return training(x, {}); }});
      cases.push_back(
          {name + ", inference", inputs, [inference](const Inputs& x) { return inference(x, {}); }});
      cases.push_back({name + " with a residual, training", two_inputs,
                       [training](const Inputs& x) { return training(x, x[3]); }});
      cases.push_back({name + " with a residual, inference", two_inputs,
                       [inference](const Inputs& x) { return inference(x, x[3]); }});
      // The sum is used once more, before and after the batch norm as the tape walks.
      cases.push_back({name + " of a sum, training", two_inputs, [options, statistic](const Inputs& x) {
                         const auto [sum, out] = batch_norm_training_of_sum(
                             x[0], x[3], x[1], x[2], statistic(x[0], 0), statistic(x[0], 1), options);
                         return out * sum + square(x[0]);
                       }});
      for (const bool keep_sum : {true, false})
        cases.push_back({fmt::format("{} of a sum {}, inference", name, keep_sum ? "kept" : "not kept"),
                         two_inputs, [options, statistic, keep_sum](const Inputs& x) {
                           const auto [sum, out] =
                               batch_norm_inference_of_sum(x[0], x[3], x[1], x[2], statistic(x[0], 0.3),
                                                           statistic(x[0], 1.7), options, keep_sum);
                           return keep_sum ? out * sum + square(x[0]) : out;
                         }});
    }
  }
}

// A module as a function of its input and parameters: the case's inputs after the first become the
// parameters.
template <typename Make>
void add_module(std::vector<OpCase>& cases, const std::string& name, const Shape& input, const Make& make) {
  std::vector<OpInput> inputs{{input}};
  const std::unique_ptr<Module> sample = make();
  for (const auto& [parameter, tensor] : sample->parameters()) {
    const bool scale = parameter.ends_with("weight") && tensor.rank() == 1;
    inputs.push_back({tensor.shape(), scale ? Values::positive : Values::normal});
  }
  cases.push_back({name, inputs, [make](const Inputs& x) {
                     const std::shared_ptr<Module> module = make();
                     module->to(x[0].dtype());
                     module->to(x[0].device());
                     module->substitute_parameters({x.begin() + 1, x.end()});
                     return module->forward(x[0]);
                   }});
}

}  // namespace

std::vector<OpCase> network_cases() {
  std::vector<OpCase> cases;
  add_convolutions(cases);
  add_batch_norms(cases);
  for (const PoolOptions& options :
       {PoolOptions{2, 2, 0}, PoolOptions{3, 2, 1}, PoolOptions{3, 1, 1}, PoolOptions{2, 3, 0}}) {
    const std::string with =
        fmt::format(" {} by {} padding {}", options.kernel, options.stride, options.padding);
    cases.push_back({"max_pool2d" + with, {{{2, 3, 7, 6}, Values::distinct}}, [options](const Inputs& x) {
                       return square(max_pool2d(x[0], options));
                     }});
    cases.push_back(
        {"conv2d_max_pool2d" + with, {{{2, 2, 7, 6}}, {{3, 2, 3, 3}}, {{3}}}, [options](const Inputs& x) {
           return square(conv2d_max_pool2d(x[0], x[1], x[2], {.padding = 1}, options, true));
         }});
    cases.push_back({"average_pool2d" + with, {{{2, 3, 7, 6}}}, [options](const Inputs& x) {
                       return square(average_pool2d(x[0], options));
                     }});
  }
  cases.push_back({"global_average_pool", {{{2, 3, 5, 4}}}, [](const Inputs& x) {
                     return square(global_average_pool(x[0]));
                   }});
  for (const int64_t classes : {2, 7}) {
    cases.push_back(
        {fmt::format("cross_entropy of {} classes", classes), {{{4, classes}}}, [](const Inputs& x) {
           return cross_entropy(x[0], Tensor::from(std::vector<int64_t>{0, 1, 1, 0}, {4}, x[0].device()));
         }});
  }
  cases.push_back({"dropout", {{{4, 6}}}, [](const Inputs& x) {
                     const RandomScope scope(7, 3);
                     return square(dropout(x[0], 0.4));
                   }});

  add_module(cases, "layer Conv2d with bias", {2, 3, 5, 5},
             [] { return std::make_unique<Conv2d>(3, 4, 3, Conv2d::Options{.padding = 1}); });
  add_module(cases, "layer BatchNorm2d", {3, 4, 3, 3}, [] { return std::make_unique<BatchNorm2d>(4); });
  add_module(cases, "layer Linear", {5, 4}, [] { return std::make_unique<Linear>(4, 3); });
  add_module(cases, "layer Flatten after average pooling", {2, 3, 4, 4}, [] {
    auto chain = std::make_unique<Sequential>();
    chain->add(std::make_unique<AveragePool2d>(PoolOptions{}));
    chain->add(std::make_unique<Flatten>());
    return chain;
  });
  add_module(cases, "layers Tanh, Sigmoid and LeakyRelu", {3, 4}, [] {
    auto chain = std::make_unique<Sequential>();
    chain->add(std::make_unique<Linear>(4, 4));
    chain->add(std::make_unique<Tanh>());
    chain->add(std::make_unique<Sigmoid>());
    chain->add(std::make_unique<LeakyRelu>());
    return chain;
  });
  add_module(cases, "residual block of equal shape", {3, 2, 4, 4},
             [] { return std::make_unique<ResidualBlock>(2, 2, 1, 0.0); });
  add_module(cases, "residual block with a shortcut", {3, 2, 5, 4},
             [] { return std::make_unique<ResidualBlock>(2, 3, 2, 0.0); });
  add_module(cases, "three residual blocks in a row", {3, 2, 4, 4},
             [] { return std::make_unique<WideStage>(3, 2, 3, 1, 0.0); });
  return cases;
}

}  // namespace dw
