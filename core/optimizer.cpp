#include "core/optimizer.h"

#include "core/ops.h"

namespace dw {
namespace {

void append_named(std::vector<NamedTensor>& list, const std::string& prefix,
                  const std::vector<NamedTensor>& parameters, const std::vector<Tensor>& tensors) {
  for (size_t i = 0; i < parameters.size(); ++i) list.push_back({prefix + parameters[i].name, tensors[i]});
}

}  // namespace

const std::vector<Tensor>& OptimizerState::beside(const std::vector<NamedTensor>& parameters) const {
  if (tensors_.empty())
    for (const NamedTensor& parameter : parameters) tensors_.push_back(Tensor::zeros_like(parameter.tensor));
  return tensors_;
}

Optimizer::Optimizer(std::vector<NamedTensor> parameters) : parameters_(std::move(parameters)) {
  require(!parameters_.empty(), "an optimizer expects at least one parameter, found none");
  learning_rate_ = Tensor::zeros({1}, DType::f64, parameters_[0].tensor.device());
  for (const auto& [name, tensor] : parameters_) {
    require(tensor.device() == device(), "parameter {} is on {}, the others on {}", name,
            to_string(tensor.device()), to_string(device()));
    require(tensor.is_dense(tensor.layout()), "parameter {} is not dense in memory", name);
  }
}

std::vector<OptimizerTensor> Optimizer::kernel_tensors(const std::vector<Tensor>& first,
                                                       const std::vector<Tensor>& second,
                                                       double weight_decay) const {
  std::vector<OptimizerTensor> list;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& parameter = parameters_[i].tensor;
    if (!parameter.grad().defined()) continue;
    require(parameter.grad().dtype() == parameter.dtype() && parameter.grad().is_dense(parameter.layout()),
            "the gradient of {} does not lie in memory as the parameter does", parameters_[i].name);
    list.push_back({parameter.raw_data(), parameter.grad().raw_data(), first[i].raw_data(),
                    second.empty() ? nullptr : second[i].raw_data(), parameter.numel(), parameter.dtype(),
                    weight_decay});
  }
  return list;
}

Sgd::Sgd(std::vector<NamedTensor> parameters, const Options& options)
    : Optimizer(std::move(parameters)), options_(options) {}

void Sgd::step() {
  const SgdOptions options{learning_rate_.data<double>(), options_.momentum, options_.nesterov};
  kernels(device()).sgd(current_stream(device()),
                        kernel_tensors(momentum_.beside(parameters_), {}, options_.weight_decay), options);
}

std::vector<NamedTensor> Sgd::state() const {
  std::vector<NamedTensor> list;
  append_named(list, "momentum.", parameters_, momentum_.beside(parameters_));
  return list;
}

Adam::Adam(std::vector<NamedTensor> parameters, const Options& options)
    : Optimizer(std::move(parameters)), options_(options), step_(Tensor::zeros({1}, DType::i64, device())) {}

void Adam::step() {
  step_.copy_from(add(step_, Tensor::full({1}, 1, DType::i64, device())));
  const AdamOptions options{learning_rate_.data<double>(),
                            step_.data<int64_t>(),
                            options_.beta1,
                            options_.beta2,
                            options_.epsilon,
                            options_.decoupled};
  kernels(device()).adam(
      current_stream(device()),
      kernel_tensors(first_.beside(parameters_), second_.beside(parameters_), options_.weight_decay),
      options);
}

std::vector<NamedTensor> Adam::state() const {
  std::vector<NamedTensor> list{{"step", step_}};
  append_named(list, "first_moment.", parameters_, first_.beside(parameters_));
  append_named(list, "second_moment.", parameters_, second_.beside(parameters_));
  return list;
}

}  // namespace dw
