// The definition of batch normalisation and of its gradients, in double, for every kernel that claims to
// compute it.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <type_traits>
#include <vector>

#include "kernels/table.h"

namespace dw {

struct BatchNormCase {
  int64_t rows, channels;
  bool relu = false, addend = false, residual = false, so_far = false;  ///< what stands around it
  double mean = 0, deviation = 1;                                       ///< of the inputs
};

/// Statistics, parameters and sums: f64 for f64 data, else f32.
template <typename T>
using BatchNormParameter = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Inputs and, after a kernel ran on forward() and backward(), outputs of one step of a layer.
template <typename T>
struct BatchNormProblem {
  using A = BatchNormParameter<T>;
  BatchNormCase what;
  BatchNormShape shape;
  std::vector<T> in, addend, residual, out_gradient, so_far;
  std::vector<A> weight, bias, running_mean, running_variance;
  std::vector<T> sum, out, residual_gradient, in_gradient;
  std::vector<A> mean, inverse_deviation, weight_gradient, bias_gradient;

  explicit BatchNormProblem(const BatchNormCase& c) : what(c) {
    shape = {c.rows, c.channels, dtype_of<T>, c.relu};
    shape.momentum = 0.3;
    std::mt19937 generator(5);
    const auto count = static_cast<size_t>(c.rows * c.channels), width = static_cast<size_t>(c.channels);
    const auto fill = [&](auto& values, size_t size, double center, double deviation) {
      std::normal_distribution<double> normal(center, deviation);
      for (size_t i = 0; i < size; ++i) values.emplace_back(static_cast<A>(normal(generator)));
    };
    fill(in, count, c.mean, c.deviation);
    fill(addend, count, 0, 0.5);
    fill(residual, count, 0, 1);
    fill(out_gradient, count, 0.1, 1);
    fill(so_far, count, 0, 1);
    fill(weight, width, 1, 0.3);
    fill(bias, width, 0, 0.5);
    fill(running_mean, width, 0, 1);
    fill(running_variance, width, 10, 1);
    for (auto* values : {&sum, &out, &residual_gradient, &in_gradient}) values->assign(count, T(A(99)));
    for (auto* values : {&mean, &inverse_deviation, &weight_gradient, &bias_gradient})
      values->assign(width, A(99));
  }

  BatchNormForward forward() {
    return {.in = in.data(),
            .addend = what.addend ? addend.data() : nullptr,
            .sum = what.addend ? sum.data() : nullptr,
            .weight = weight.data(),
            .bias = bias.data(),
            .running_mean = running_mean.data(),
            .running_variance = running_variance.data(),
            .residual = what.residual ? residual.data() : nullptr,
            .out = out.data(),
            .saved_mean = mean.data(),
            .saved_inverse_deviation = inverse_deviation.data()};
  }
  BatchNormBackward backward() {
    return {.out_gradient = out_gradient.data(),
            .in = what.addend ? sum.data() : in.data(),
            .out = out.data(),
            .weight = weight.data(),
            .bias = bias.data(),
            .saved_mean = mean.data(),
            .saved_inverse_deviation = inverse_deviation.data(),
            .residual_gradient = what.relu && what.residual ? residual_gradient.data() : nullptr,
            .in_gradient_so_far = what.so_far ? so_far.data() : nullptr,
            .in_gradient = in_gradient.data(),
            .weight_gradient = weight_gradient.data(),
            .bias_gradient = bias_gradient.data()};
  }
};

/// Checks every output of a problem against the definition. `before` is the problem as it was. `tolerance` is
/// for values of size 1 in parameter dtype, `data_tolerance` for those in the data's.
template <typename T>
void check_batch_norm(const BatchNormProblem<T>& p, const BatchNormProblem<T>& before, double tolerance,
                      double data_tolerance) {
  const auto [rows, channels, relu, with_addend, with_residual, so_far, unused, unused2] = p.what;
  CAPTURE(rows);
  CAPTURE(channels);
  CAPTURE(relu);
  CAPTURE(with_addend);
  CAPTURE(with_residual);
  CAPTURE(so_far);
  const auto n = static_cast<double>(rows);
  double worst_sum = 0, worst_out = 0, worst_residual = 0, worst_in = 0, worst_channel = 0;
  const auto note = [](double& worst, auto found, double wanted) {
    const double error = std::abs(static_cast<double>(found) - wanted) / (1 + std::abs(wanted));
    worst = error <= worst ? worst : error;  // a NaN stays
  };
  for (int64_t c = 0; c < channels; ++c) {
    const auto channel = static_cast<size_t>(c);
    const auto at = [&, count = channels](int64_t row) { return static_cast<size_t>(row * count + c); };
    if (with_addend)
      for (int64_t row = 0; row < rows; ++row)
        note(worst_sum, p.sum[at(row)],
             static_cast<double>(before.in[at(row)]) + static_cast<double>(before.addend[at(row)]));
    const auto& values = with_addend ? p.sum : before.in;
    long double total = 0;
    for (int64_t row = 0; row < rows; ++row)
      total += static_cast<long double>(static_cast<double>(values[at(row)]));
    const auto mean = static_cast<double>(total / static_cast<long double>(rows));
    double square = 0;
    for (int64_t row = 0; row < rows; ++row)
      square += std::pow(static_cast<double>(values[at(row)]) - mean, 2);
    const double inverse = 1 / std::sqrt(square / n + p.shape.epsilon);
    const auto weight = static_cast<double>(before.weight[channel]);
    const auto bias = static_cast<double>(before.bias[channel]);
    const auto normal = [&](int64_t row) { return (static_cast<double>(values[at(row)]) - mean) * inverse; };
    const auto gradient = [&](int64_t row) {
      const bool shut = p.what.relu && !(static_cast<double>(p.out[at(row)]) > 0);
      return shut ? 0.0 : static_cast<double>(before.out_gradient[at(row)]);
    };
    double sum = 0, product = 0;
    for (int64_t row = 0; row < rows; ++row) {
      double out = weight * normal(row) + bias;
      if (with_residual) out += static_cast<double>(before.residual[at(row)]);
      note(worst_out, p.out[at(row)], relu && out < 0 ? 0 : out);
      if (relu && with_residual) note(worst_residual, p.residual_gradient[at(row)], gradient(row));
      sum += gradient(row);
      product += gradient(row) * normal(row);
    }
    for (int64_t row = 0; row < rows; ++row)
      note(worst_in, p.in_gradient[at(row)],
           weight * inverse * (gradient(row) - sum / n - normal(row) * product / n) +
               (so_far ? static_cast<double>(before.so_far[at(row)]) : 0.0));
    const double momentum = p.shape.momentum, unbiased = square / std::max(n - 1, 1.0);
    const auto running = [&](const auto& statistic, double value) {
      return static_cast<double>(statistic[channel]) * (1 - momentum) + momentum * value;
    };
    note(worst_channel, p.mean[channel], mean);
    note(worst_channel, p.inverse_deviation[channel], inverse);
    note(worst_channel, p.running_mean[channel], running(before.running_mean, mean));
    note(worst_channel, p.running_variance[channel], running(before.running_variance, unbiased));
    const double scale = std::sqrt(n);  // of sums over the rows
    note(worst_channel, static_cast<double>(p.bias_gradient[channel]) / scale, sum / scale);
    note(worst_channel, static_cast<double>(p.weight_gradient[channel]) / scale, product / scale);
  }
  CHECK(worst_sum < data_tolerance);
  CHECK(worst_out < data_tolerance);
  CHECK(worst_residual < data_tolerance);
  CHECK(worst_in < data_tolerance);
  CHECK(worst_channel < tolerance);
}

/// What can stand around a batch norm, in all combinations that kernels tell apart.
inline std::vector<BatchNormCase> batch_norm_cases(int64_t rows, int64_t channels, double mean = 0) {
  std::vector<BatchNormCase> cases;
  for (const bool relu : {false, true})
    for (const bool addend : {false, true})
      for (const bool residual : {false, true})
        for (const bool so_far : {false, true})
          cases.push_back({rows, channels, relu, addend, residual, so_far, mean});
  return cases;
}

}  // namespace dw
