// Optimizer steps, all parameters in one launch. Learning rate and step number are read from device memory,
// so that a captured step can be replayed.
// Floor, in values moved a weight: SGD with momentum 5 (weight and momentum in and out, gradient in), Adam 7.
#include <cmath>

#include "kernels/bodies/tensor_list.h"
#include "kernels/table.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

template <typename T>
HD void step(const Block& block, const OptimizerTensor& tensor, int64_t begin, int64_t count,
             const SgdOptions& options) {
  T* weight = static_cast<T*>(tensor.parameter) + begin;
  const T* gradient = static_cast<const T*>(tensor.gradient) + begin;
  const T rate = static_cast<T>(*options.learning_rate), decay = static_cast<T>(tensor.weight_decay);
  const T momentum = static_cast<T>(options.momentum);
  if (options.momentum == 0) {
    block.each(count, [=](int64_t i) { weight[i] -= rate * (gradient[i] + decay * weight[i]); });
    return;
  }
  T* buffer = static_cast<T*>(tensor.first) + begin;
  const T ahead = options.nesterov ? momentum : T(1), now = options.nesterov ? T(1) : T(0);
  block.each(count, [=](int64_t i) {
    const T g = gradient[i] + decay * weight[i];
    const T velocity = momentum * buffer[i] + g;
    buffer[i] = velocity;
    weight[i] -= rate * (now * g + ahead * velocity);
  });
}

template <typename T>
HD void step(const Block& block, const OptimizerTensor& tensor, int64_t begin, int64_t count,
             const AdamOptions& options) {
  T* weight = static_cast<T*>(tensor.parameter) + begin;
  const T* gradient = static_cast<const T*>(tensor.gradient) + begin;
  T* first = static_cast<T*>(tensor.first) + begin;
  T* second = static_cast<T*>(tensor.second) + begin;
  const auto steps = static_cast<double>(*options.step);
  const T rate = static_cast<T>(*options.learning_rate), epsilon = static_cast<T>(options.epsilon);
  const T beta1 = static_cast<T>(options.beta1), beta2 = static_cast<T>(options.beta2);
  const T fresh1 = static_cast<T>(1 - options.beta1), fresh2 = static_cast<T>(1 - options.beta2);
  const T scale1 = static_cast<T>(1 / (1 - std::pow(options.beta1, steps)));
  const T scale2 = static_cast<T>(1 / (1 - std::pow(options.beta2, steps)));
  const T coupled = static_cast<T>(options.decoupled ? 0 : tensor.weight_decay);
  const T kept = options.decoupled ? T(1) - rate * static_cast<T>(tensor.weight_decay) : T(1);
  block.each(count, [=](int64_t i) {
    const T g = gradient[i] + coupled * weight[i];
    const T m = beta1 * first[i] + fresh1 * g;
    const T v = beta2 * second[i] + fresh2 * g * g;
    first[i] = m;
    second[i] = v;
    weight[i] = kept * weight[i] - rate * (m * scale1) / (std::sqrt(v * scale2) + epsilon);
  });
}

template <typename Options>
struct StepBody {
  Options options;

  HD void operator()(const Block& block, const OptimizerTensor& tensor, int64_t begin, int64_t count) const {
    if (tensor.dtype == DType::f32)
      step<float>(block, tensor, begin, count, options);
    else
      step<double>(block, tensor, begin, count, options);
  }
};

template <typename Options>
void step_all(Stream stream, std::span<const OptimizerTensor> tensors, const Options& options) {
  for (const OptimizerTensor& tensor : tensors)
    require(tensor.dtype == DType::f32 || tensor.dtype == DType::f64,
            "an optimizer expects f32 or f64 parameters, found {}", name_of(tensor.dtype));
  for_each_tensor(stream, tensors, StepBody<Options>{options});
}

void sgd(Stream stream, std::span<const OptimizerTensor> tensors, const SgdOptions& options) {
  step_all(stream, tensors, options);
}

void adam(Stream stream, std::span<const OptimizerTensor> tensors, const AdamOptions& options) {
  step_all(stream, tensors, options);
}

}  // namespace

void add_optimizer(KernelTable& table) {
  table.sgd = sgd;
  table.adam = adam;
}

}  // namespace dw::DEEPWATER_BACKEND
