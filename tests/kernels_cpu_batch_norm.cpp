// Batch normalisation on the CPU against the definition in double.
#include "tests/batch_norm_reference.h"

namespace {

using namespace dw;

template <typename T>
void run(BatchNormProblem<T>& p) {
  const Stream stream{cpu, nullptr};
  kernels(cpu).batch_norm_training(stream, p.shape, p.forward());
  kernels(cpu).batch_norm_backward(stream, p.shape, p.backward());
}

template <typename T>
void check(const BatchNormCase& what, double tolerance) {
  BatchNormProblem<T> p(what);
  const BatchNormProblem<T> before = p;
  run(p);
  check_batch_norm(p, before, tolerance, tolerance);
}

const int64_t problems[][2] = {{2, 1},     {3, 5},    {7, 16},    {1000, 3}, {517, 17},
                               {4099, 16}, {600, 64}, {2100, 32}, {40, 1030}};

TEST_CASE("CPU batch norm in f32 equals its definition") {
  for (const auto& [rows, channels] : problems)
    for (const BatchNormCase& what : batch_norm_cases(rows, channels, 0.5)) check<float>(what, 3e-5);
}

TEST_CASE("CPU batch norm in f64 equals its definition") {
  for (const auto& [rows, channels] : problems)
    for (const BatchNormCase& what : batch_norm_cases(rows, channels, 0.5)) check<double>(what, 1e-11);
}

TEST_CASE("CPU batch norm keeps its precision far from zero") {
  // At 1024 neighbouring floats lie 2^-13 apart, which the saved mean cannot improve on.
  check<float>({.rows = 20000, .channels = 16, .mean = 1024}, 1e-3);
  check<double>({.rows = 20000, .channels = 16, .mean = 1e6}, 1e-8);
}

TEST_CASE_TEMPLATE("CPU batch norm writes the gradient over what it came from", T, float, double) {
  for (const BatchNormCase& what : batch_norm_cases(700, 20)) {
    BatchNormProblem<T> p(what);
    const BatchNormProblem<T> before = p;
    kernels(cpu).batch_norm_training({cpu, nullptr}, p.shape, p.forward());
    BatchNormBackward memory = p.backward();
    p.in_gradient = p.out_gradient;
    memory.out_gradient = p.in_gradient.data();
    kernels(cpu).batch_norm_backward({cpu, nullptr}, p.shape, memory);
    check_batch_norm(p, before, 3e-5, 3e-5);
  }
}

TEST_CASE_TEMPLATE("CPU batch norm does not depend on the number of threads", T, float, double) {
  for (const int64_t channels : {3, 16, 48, 200}) {
    BatchNormProblem<T> one({30001 / channels + 3000, channels, true, true, true, true, 1}), three = one;
    set_thread_count(1);
    run(one);
    set_thread_count(3);
    run(three);
    set_thread_count(0);
    CHECK(one.sum == three.sum);
    CHECK(one.out == three.out);
    CHECK(one.running_variance == three.running_variance);
    CHECK(one.residual_gradient == three.residual_gradient);
    CHECK(one.in_gradient == three.in_gradient);
    CHECK(one.weight_gradient == three.weight_gradient);
    CHECK(one.bias_gradient == three.bias_gradient);
  }
}

TEST_CASE_TEMPLATE("CPU batch norm in inference uses the running statistics", T, float, double) {
  for (const bool relu : {false, true})
    for (const int what : {0, 1, 2, 3, 4, 5}) {
      const bool residual = what % 2 == 1, sum = what > 1, kept = what < 4;
      BatchNormProblem<T> p({.rows = 1, .channels = 19, .relu = relu, .addend = sum, .residual = residual});
      const BatchNormProblem<T> before = p;
      BatchNormForward memory = p.forward();
      if (!kept) memory.sum = nullptr;
      kernels(cpu).batch_norm_inference({cpu, nullptr}, p.shape, memory);
      if (!kept) CHECK(p.sum == before.sum);
      for (size_t c = 0; c < 19; ++c) {
        const double in = static_cast<double>(p.in[c]) + (sum ? static_cast<double>(p.addend[c]) : 0);
        if (sum && kept) CHECK(static_cast<double>(p.sum[c]) == doctest::Approx(in).epsilon(1e-6));
        double value = (in - static_cast<double>(p.running_mean[c])) /
                           std::sqrt(static_cast<double>(p.running_variance[c]) + p.shape.epsilon) *
                           static_cast<double>(p.weight[c]) +
                       static_cast<double>(p.bias[c]);
        if (residual) value += static_cast<double>(p.residual[c]);
        CHECK(static_cast<double>(p.out[c]) == doctest::Approx(relu && value < 0 ? 0 : value).epsilon(1e-5));
      }
      CHECK(p.running_mean == before.running_mean);
      CHECK(p.running_variance == before.running_variance);
    }
}

TEST_CASE("CPU batch norm refuses a single row in training and integers") {
  BatchNormProblem<float> p({.rows = 1, .channels = 4});
  CHECK_THROWS_WITH_AS(run(p), doctest::Contains("more than one value per channel, found 1"), Error);
  p.shape.rows = 2;
  p.shape.dtype = DType::i64;
  CHECK_THROWS_WITH_AS(run(p), doctest::Contains("expects f32 or f64, found i64"), Error);
}

}  // namespace
