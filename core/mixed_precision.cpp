#include "core/mixed_precision.h"

#include "kernels/table.h"

namespace dw {
namespace {

// Gives a network other parameters until destroyed.
class Substituted {
 public:
  Substituted(Module& network, const std::vector<Tensor>& now, const std::vector<Tensor>& afterwards)
      : network_(network), afterwards_(afterwards) {
    network_.substitute_parameters(now);
  }
  Substituted(const Substituted&) = delete;
  Substituted& operator=(const Substituted&) = delete;
  ~Substituted() { network_.substitute_parameters(afterwards_); }

 private:
  Module& network_;
  const std::vector<Tensor>& afterwards_;
};

void convert(Device device, const std::vector<ConvertedTensor>& tensors) {
  kernels(device).convert_all(current_stream(device), tensors);
}

}  // namespace

MixedPrecision::MixedPrecision(Module& network) : network_(network) {
  for (const auto& [name, weight] : network.parameters()) {
    require(weight.dtype() == DType::f32 && weight.is_dense(weight.layout()),
            "training in bf16 expects dense f32 parameters, found {} in {}", name_of(weight.dtype()), name);
    own_.push_back(weight);
    working_.push_back(weight);
    if (weight.rank() < 2) continue;
    working_.back() = Tensor::empty(weight.shape(), DType::bf16, weight.device(), weight.layout());
    pairs_.push_back({weight, working_.back(), Tensor::empty_like(weight)});
  }
}

void MixedPrecision::round_weights() const {
  std::vector<ConvertedTensor> list;
  for (const Pair& pair : pairs_) {
    pair.copy.set_requires_grad(pair.weight.requires_grad());
    pair.copy.set_grad({});
    list.push_back(
        {pair.weight.raw_data(), pair.copy.raw_data(), pair.weight.numel(), DType::f32, DType::bf16});
  }
  if (!list.empty()) convert(pairs_[0].weight.device(), list);
}

void MixedPrecision::widen_gradients() const {
  std::vector<ConvertedTensor> list;
  for (const Pair& pair : pairs_) {
    const Tensor& found = pair.copy.grad();
    if (!found.defined()) continue;
    list.push_back({found.raw_data(), pair.gradient.raw_data(), found.numel(), DType::bf16, DType::f32});
    pair.weight.set_grad(pair.gradient);
  }
  if (!list.empty()) convert(pairs_[0].weight.device(), list);
  for (const Pair& pair : pairs_) pair.copy.set_grad({});
}

void MixedPrecision::compute(const std::function<void()>& forward_and_backward) {
  round_weights();
  {
    const Substituted copies(network_, working_, own_);
    forward_and_backward();
  }
  widen_gradients();
}

}  // namespace dw
