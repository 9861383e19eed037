// Batch normalisation on the CPU against the definition in double.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/table.h"

namespace {

using namespace dw;
using Values = std::vector<double>;

template <typename T>
struct Problem {
  BatchNormShape shape;
  std::vector<T> in, weight, bias, running_mean, running_variance, out_gradient;
  std::vector<T> out, saved_mean, saved_inverse_deviation, in_gradient, weight_gradient, bias_gradient;

  Problem(int64_t rows, int64_t channels, bool relu, double offset) {
    shape = {rows, channels, dtype_of<T>, relu};
    shape.momentum = 0.3;
    std::mt19937 generator(5);
    std::normal_distribution<double> normal;
    const auto count = static_cast<size_t>(rows * channels), width = static_cast<size_t>(channels);
    const auto fill = [&](std::vector<T>& values, size_t size, double mean) {
      values.resize(size);
      for (T& value : values) value = static_cast<T>(mean + normal(generator));
    };
    fill(in, count, offset);
    fill(weight, width, 1);
    fill(bias, width, 0);
    fill(running_mean, width, 0);
    fill(running_variance, width, 10);
    fill(out_gradient, count, 0.1);
    for (std::vector<T>* values : {&out, &in_gradient}) values->resize(count, T{99});
    for (std::vector<T>* values : {&saved_mean, &saved_inverse_deviation, &weight_gradient, &bias_gradient})
      values->resize(width, T{99});
  }

  void run() {
    const Stream stream{cpu, nullptr};
    kernels(cpu).batch_norm_training(stream, shape, in.data(), weight.data(), bias.data(),
                                     running_mean.data(), running_variance.data(), out.data(),
                                     saved_mean.data(), saved_inverse_deviation.data());
    in_gradient = out_gradient;
    kernels(cpu).batch_norm_backward(stream, shape, in_gradient.data(), in.data(), out.data(), weight.data(),
                                     saved_mean.data(), saved_inverse_deviation.data(), in_gradient.data(),
                                     weight_gradient.data(), bias_gradient.data());
  }
};

/// Checks every output of a problem. `bound` is for values of size 1.
template <typename T>
void check(int64_t rows, int64_t channels, bool relu, double offset, double bound) {
  CAPTURE(rows);
  CAPTURE(channels);
  CAPTURE(relu);
  Problem<T> p(rows, channels, relu, offset);
  const Problem<T> before = p;
  p.run();
  const auto n = static_cast<double>(rows);
  double worst_out = 0, worst_in_gradient = 0, worst_channel = 0;
  const auto note = [](double& worst, double found, double wanted) {
    const double error = std::abs(found - wanted) / (1 + std::abs(wanted));
    worst = error <= worst ? worst : error;
  };
  for (int64_t c = 0; c < channels; ++c) {
    const auto channel = static_cast<size_t>(c);
    const auto at = [&](int64_t row) { return static_cast<size_t>(row * channels + c); };
    long double total = 0;
    for (int64_t row = 0; row < rows; ++row) total += static_cast<long double>(p.in[at(row)]);
    const auto mean = static_cast<double>(total / rows);
    double variance = 0;
    for (int64_t row = 0; row < rows; ++row)
      variance += std::pow(static_cast<double>(p.in[at(row)]) - mean, 2) / n;
    const double inverse = 1 / std::sqrt(variance + p.shape.epsilon);
    const auto weight = static_cast<double>(p.weight[channel]), bias = static_cast<double>(p.bias[channel]);
    const auto normal = [&](int64_t row) { return (static_cast<double>(p.in[at(row)]) - mean) * inverse; };
    const auto gradient = [&](int64_t row) {
      return relu && !(p.out[at(row)] > 0) ? 0.0 : static_cast<double>(p.out_gradient[at(row)]);
    };
    double sum = 0, product = 0;
    for (int64_t row = 0; row < rows; ++row) {
      const double out = weight * normal(row) + bias;
      note(worst_out, static_cast<double>(p.out[at(row)]), relu && out < 0 ? 0 : out);
      sum += gradient(row);
      product += gradient(row) * normal(row);
    }
    for (int64_t row = 0; row < rows; ++row)
      note(worst_in_gradient, static_cast<double>(p.in_gradient[at(row)]),
           weight * inverse * (gradient(row) - sum / n - normal(row) * product / n));
    const double running_mean = static_cast<double>(before.running_mean[channel]) * 0.7 + 0.3 * mean;
    const double running_variance =
        static_cast<double>(before.running_variance[channel]) * 0.7 + 0.3 * variance * n / (n - 1);
    note(worst_channel, static_cast<double>(p.saved_mean[channel]), mean);
    note(worst_channel, static_cast<double>(p.saved_inverse_deviation[channel]), inverse);
    note(worst_channel, static_cast<double>(p.running_mean[channel]), running_mean);
    note(worst_channel, static_cast<double>(p.running_variance[channel]), running_variance);
    note(worst_channel, static_cast<double>(p.bias_gradient[channel]) / std::sqrt(n), sum / std::sqrt(n));
    note(worst_channel, static_cast<double>(p.weight_gradient[channel]) / std::sqrt(n),
         product / std::sqrt(n));
  }
  CHECK(worst_out < bound);
  CHECK(worst_in_gradient < bound);
  CHECK(worst_channel < bound);
}

const int64_t problems[][2] = {{2, 1},    {3, 5},     {7, 16},   {1000, 3},
                               {517, 17}, {4099, 16}, {600, 64}, {40, 1030}};

TEST_CASE("CPU batch norm in f32 equals its definition") {
  for (const auto& [rows, channels] : problems)
    for (const bool relu : {false, true}) check<float>(rows, channels, relu, 0.5, 2e-5);
}

TEST_CASE("CPU batch norm in f64 equals its definition") {
  for (const auto& [rows, channels] : problems)
    for (const bool relu : {false, true}) check<double>(rows, channels, relu, 0.5, 1e-11);
}

TEST_CASE("CPU batch norm keeps its precision far from zero") {
  // At 1024 neighbouring floats lie 2^-13 apart, which the saved mean cannot improve on.
  check<float>(20000, 16, false, 1024, 1e-3);
  check<double>(20000, 16, false, 1e6, 1e-8);
}

TEST_CASE_TEMPLATE("CPU batch norm does not depend on the number of threads", T, float, double) {
  for (const int64_t channels : {3, 16, 48}) {
    Problem<T> one(3001, channels, true, 1), two = one;
    set_thread_count(1);
    one.run();
    set_thread_count(2);
    two.run();
    set_thread_count(0);
    CHECK(one.out == two.out);
    CHECK(one.running_variance == two.running_variance);
    CHECK(one.in_gradient == two.in_gradient);
    CHECK(one.weight_gradient == two.weight_gradient);
    CHECK(one.bias_gradient == two.bias_gradient);
  }
}

TEST_CASE_TEMPLATE("CPU batch norm in inference uses the running statistics", T, float, double) {
  for (const bool relu : {false, true}) {
    Problem<T> p(1, 19, relu, 0);
    const Problem<T> before = p;
    kernels(cpu).batch_norm_inference({cpu, nullptr}, p.shape, p.in.data(), p.weight.data(), p.bias.data(),
                                      p.running_mean.data(), p.running_variance.data(), p.out.data());
    for (size_t c = 0; c < 19; ++c) {
      const double value = (static_cast<double>(p.in[c]) - static_cast<double>(p.running_mean[c])) /
                               std::sqrt(static_cast<double>(p.running_variance[c]) + p.shape.epsilon) *
                               static_cast<double>(p.weight[c]) +
                           static_cast<double>(p.bias[c]);
      CHECK(static_cast<double>(p.out[c]) == doctest::Approx(relu && value < 0 ? 0 : value).epsilon(1e-5));
    }
    CHECK(p.running_mean == before.running_mean);
    CHECK(p.running_variance == before.running_variance);
  }
}

TEST_CASE("CPU batch norm refuses a single row in training and bf16") {
  Problem<float> p(1, 4, false, 0);
  CHECK_THROWS_WITH_AS(p.run(), doctest::Contains("more than one value per channel, found 1"), Error);
  p.shape.rows = 2;
  p.shape.dtype = DType::bf16;
  CHECK_THROWS_WITH_AS(p.run(), doctest::Contains("expects f32 or f64, found bf16"), Error);
}

}  // namespace
