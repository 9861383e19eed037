#include "watermark/schemes/host_term.h"

#include <cmath>
#include <utility>

#include "core/ops.h"
#include "core/tape.h"

namespace dw {

HostTerm::HostTerm(std::vector<NamedTensor> layers, double lambda)
    : layers_(std::move(layers)), lambda_(lambda) {
  for (const NamedTensor& layer : layers_) {
    require(layer.tensor.dtype() == DType::f32, "a marked layer holds f32 weights, found {} in {}",
            name_of(layer.tensor.dtype()), layer.name);
  }
}

void HostTerm::add_gradients() {
  const NoGrad pause;
  std::vector<std::vector<float>> weights, slopes;
  for (const NamedTensor& layer : layers_) {
    weights.push_back(layer.tensor.to_vector<float>());
    slopes.emplace_back(weights.back().size(), 0.0F);
  }
  loss_ = evaluate(weights, slopes);
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Tensor& gradient = layers_[l].tensor.grad();
    require(gradient.defined(), "{} has no gradient to add the mark's to", layers_[l].name);
    const Tensor slope = Tensor::from(slopes[l], layers_[l].tensor.shape(), gradient.device());
    gradient.copy_from(add(gradient, multiply(slope, lambda_)));
  }
}

double cross_entropy_of_bits(std::span<const double> logits, std::span<const int8_t> bits,
                             std::span<double> slopes) {
  double loss = 0;
  for (size_t j = 0; j < logits.size(); ++j) {
    const double margin = bits[j] * logits[j];
    // log(1 + exp(-margin)), without overflow.
    loss += std::log1p(std::exp(-std::fabs(margin))) + (margin < 0 ? -margin : 0);
    slopes[j] = -bits[j] / (1 + std::exp(margin));
  }
  return loss;
}

}  // namespace dw
