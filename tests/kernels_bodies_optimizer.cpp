// SGD and Adam against the formulas of their papers, written as double loops over three steps.
#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

struct Parameter {
  TestArray weight, gradient, first, second;
  std::vector<double> w, g, m, v;
  double decay;
  Parameter(Device device, DType dtype, int64_t count, double weight_decay, uint64_t seed)
      : weight(device, dtype, {count}, some_values(count, -1, 1, seed)),
        gradient(device, dtype, {count}, some_values(count, -1, 1, seed + 100)),
        first(device, dtype, {count}, std::vector<double>(static_cast<size_t>(count))),
        second(device, dtype, {count}, std::vector<double>(static_cast<size_t>(count))),
        w(weight.values()),
        g(gradient.values()),
        m(w.size()),
        v(w.size()),
        decay(weight_decay) {}
  OptimizerTensor tensor(DType dtype) const {
    return {
        weight.data(), gradient.data(), first.data(), second.data(), static_cast<int64_t>(w.size()), dtype,
        decay};
  }
};

/// More tensors than one launch takes, of odd sizes, one of them empty and one longer than a stretch.
std::vector<Parameter> some_parameters(Device device, DType dtype) {
  std::vector<Parameter> parameters;
  for (uint64_t i = 0; i < 600; ++i)
    parameters.emplace_back(device, dtype,
                            i == 7   ? 0
                            : i == 9 ? 13001
                                     : static_cast<int64_t>(1 + i % 200),
                            i % 2 == 0 ? 0.1 : 0, i);
  return parameters;
}

template <typename Step>
void run_steps(DType dtype, std::vector<Parameter>& parameters, const Step& step) {
  std::vector<OptimizerTensor> tensors;
  for (const Parameter& parameter : parameters) tensors.push_back(parameter.tensor(dtype));
  for (int t = 1; t <= 3; ++t) step(tensors, t);
  for (const Parameter& parameter : parameters)
    check_close(parameter.weight.values(), parameter.w, dtype == DType::f64 ? 1e-13 : 5e-6);
}

TEST_CASE("bodies: sgd follows its formula") {
  for_each_device([](Device device) {
    for (const DType dtype : {DType::f32, DType::f64})
      for (const double momentum : {0.0, 0.9})
        for (const bool nesterov : {false, true}) {
          std::vector<Parameter> parameters = some_parameters(device, dtype);
          TestArray rate(device, DType::f64, {1}, {0.05});
          run_steps(dtype, parameters, [&](std::span<const OptimizerTensor> tensors, int) {
            kernels(device).sgd(current_stream(device), tensors,
                                {static_cast<const double*>(rate.data()), momentum, nesterov});
            for (Parameter& p : parameters)
              for (size_t i = 0; i < p.w.size(); ++i) {
                const double g = p.g[i] + p.decay * p.w[i];
                p.m[i] = momentum * p.m[i] + g;
                p.w[i] -= 0.05 * (nesterov ? g + momentum * p.m[i] : p.m[i]);
              }
          });
        }
  });
}

TEST_CASE("bodies: adam and adamw follow their formulas") {
  for_each_device([](Device device) {
    for (const DType dtype : {DType::f32, DType::f64})
      for (const bool decoupled : {false, true}) {
        std::vector<Parameter> parameters = some_parameters(device, dtype);
        TestArray rate(device, DType::f64, {1}, {0.01}), step(device, DType::i64, {1}, {0});
        run_steps(dtype, parameters, [&](std::span<const OptimizerTensor> tensors, int t) {
          kernels(device).fill(current_stream(device), step.view(), t);
          kernels(device).adam(current_stream(device), tensors,
                               {static_cast<const double*>(rate.data()),
                                static_cast<const int64_t*>(step.data()), 0.8, 0.95, 1e-8, decoupled});
          for (Parameter& p : parameters)
            for (size_t i = 0; i < p.w.size(); ++i) {
              const double g = p.g[i] + (decoupled ? 0 : p.decay * p.w[i]);
              p.m[i] = 0.8 * p.m[i] + 0.2 * g;
              p.v[i] = 0.95 * p.v[i] + 0.05 * g * g;
              if (decoupled) p.w[i] -= 0.01 * p.decay * p.w[i];
              p.w[i] -= 0.01 * (p.m[i] / (1 - std::pow(0.8, t))) /
                        (std::sqrt(p.v[i] / (1 - std::pow(0.95, t))) + 1e-8);
            }
        });
      }
  });
}

TEST_CASE("bodies: an optimizer step has the same bits for any number of threads") {
  check_thread_invariance([] {
    std::vector<Parameter> parameters = some_parameters(cpu, DType::f32);
    std::vector<OptimizerTensor> tensors;
    for (const Parameter& parameter : parameters) tensors.push_back(parameter.tensor(DType::f32));
    const double rate = 0.1;
    kernels(cpu).sgd({}, tensors, {&rate, 0.9, true});
    return parameters[9].weight.values();
  });
}

}  // namespace
}  // namespace dw
