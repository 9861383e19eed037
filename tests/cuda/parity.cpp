// The CUDA kernels beside the CPU's on the same inputs. Where no GPU answers each case says so and is
// reported as skipped.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/graph.h"
#include "kernels/precision.h"
#include "kernels/table.h"

using namespace dw;

namespace {

constexpr Device gpu{DeviceType::cuda, 0};

bool no_gpu() {
  const bool absent = cuda_device_count() == 0;
  if (absent) MESSAGE("no CUDA device: skipped");
  return absent;
}

std::vector<double> random_values(int64_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(static_cast<size_t>(count));
  // Exact in bf16, sums of two as well, so that every dtype starts from the same numbers.
  for (double& value : values) value = std::round(std::clamp(normal(engine), -4.0, 4.0) * 32) / 32;
  return values;
}

/// Values of some dtype on some device.
class Array {
 public:
  Array(Device device, DType dtype, const std::vector<double>& values)
      : dtype_(dtype), count_(values.size()), buffer_(device, std::max<size_t>(1, count_ * size_of(dtype))) {
    dispatch_any(dtype, [&](auto zero) {
      using T = decltype(zero);
      std::vector<T> host(count_);
      for (size_t i = 0; i < count_; ++i) {
        if constexpr (std::is_same_v<T, bfloat16>)
          host[i] = T(static_cast<float>(values[i]));
        else
          host[i] = static_cast<T>(values[i]);
      }
      copy_bytes(device, buffer_.data(), cpu, host.data(), count_ * sizeof(T));
    });
  }
  Array(Device device, DType dtype, int64_t count)
      : Array(device, dtype, std::vector<double>(static_cast<size_t>(count), 7.0)) {}

  void* data() const { return buffer_.data(); }

  std::vector<double> values() const {
    std::vector<double> result(count_);
    dispatch_any(dtype_, [&](auto zero) {
      using T = decltype(zero);
      std::vector<T> host(count_);
      copy_bytes(cpu, host.data(), buffer_.device(), buffer_.data(), count_ * sizeof(T));
      std::ranges::transform(host, result.begin(), [](T value) { return double(value); });
    });
    return result;
  }

 private:
  DType dtype_;
  size_t count_;
  Buffer buffer_;
};

void check_close(const std::vector<double>& found, const std::vector<double>& expected, double tolerance) {
  REQUIRE(found.size() == expected.size());
  double difference = 0, scale = 1e-3;
  for (size_t i = 0; i < found.size(); ++i) {
    difference = std::max(difference, std::isnan(found[i]) ? INFINITY : std::abs(found[i] - expected[i]));
    scale = std::max(scale, std::abs(expected[i]));
  }
  CHECK(difference / scale < tolerance);
}

struct Arithmetic {
  DType dtype;
  Precision precision;
  double tolerance;
};

constexpr Arithmetic arithmetics[] = {{DType::f64, Precision::fp32, 1e-12},
                                      {DType::f32, Precision::fp32, 2e-5},
                                      {DType::f32, Precision::tf32, 5e-3},
                                      {DType::bf16, Precision::fp32, 2e-2}};

/// The dtype in which the CPU computes what to expect.
DType reference_type(DType dtype) {
  return dtype == DType::f64 ? DType::f64 : DType::f32;
}

/// Outputs of one operation on a device, given its inputs' dtype.
using Operation = std::vector<std::vector<double>> (*)(Device, DType);

void compare(Operation operation) {
  for (const Arithmetic& arithmetic : arithmetics) {
    CAPTURE(name_of(arithmetic.dtype));
    CAPTURE(static_cast<int>(arithmetic.precision));
    set_precision(arithmetic.precision);
    const auto found = operation(gpu, arithmetic.dtype);
    set_precision(Precision::fp32);
    const auto expected = operation(cpu, reference_type(arithmetic.dtype));
    for (size_t i = 0; i < found.size(); ++i) {
      CAPTURE(i);
      check_close(found[i], expected[i], arithmetic.tolerance);
    }
  }
}

std::vector<std::vector<double>> convolve(Device device, DType dtype, ConvShape shape) {
  shape.dtype = dtype;
  const int64_t in_count = shape.batch * shape.in_height * shape.in_width * shape.in_channels;
  const int64_t out_count = shape.batch * shape.out_height() * shape.out_width() * shape.out_channels;
  const int64_t weight_count =
      shape.out_channels * shape.kernel_height * shape.kernel_width * shape.in_channels / shape.groups;
  const Array in(device, dtype, random_values(in_count, 1)),
      weight(device, dtype, random_values(weight_count, 2)),
      out_gradient(device, dtype, random_values(out_count, 3));
  const Array out(device, dtype, out_count), in_gradient(device, dtype, in_count),
      weight_gradient(device, dtype, weight_count);
  const KernelTable& table = kernels(device);
  const Stream stream = current_stream(device);
  table.conv_forward(stream, shape, in.data(), weight.data(), out.data());
  table.conv_backward_data(stream, shape, out_gradient.data(), weight.data(), in_gradient.data());
  table.conv_backward_weight(stream, shape, in.data(), out_gradient.data(), weight_gradient.data());
  return {out.values(), in_gradient.values(), weight_gradient.values()};
}

template <bool transpose_a, bool transpose_b>
std::vector<std::vector<double>> multiply(Device device, DType dtype) {
  constexpr int64_t m = 33, n = 20, k = 47, batch = 3;
  const Array a(device, dtype, random_values(batch * m * k, 1)),
      b(device, dtype, random_values(batch * k * n, 2)), c(device, dtype, random_values(batch * m * n, 3));
  const MatmulShape shape{.m = m,
                          .n = n,
                          .k = k,
                          .transpose_a = transpose_a,
                          .transpose_b = transpose_b,
                          .batch = batch,
                          .stride_a = m * k,
                          .stride_b = k * n,
                          .stride_c = m * n,
                          .alpha = 0.5,
                          .beta = 2,
                          .dtype = dtype};
  kernels(device).matmul(current_stream(device), shape, a.data(), b.data(), c.data());
  return {c.values()};
}

template <int64_t rows, int64_t channels, bool relu>
std::vector<std::vector<double>> normalise(Device device, DType dtype) {
  const DType parameter = reference_type(dtype);
  const BatchNormShape shape{.rows = rows, .channels = channels, .dtype = dtype, .relu = relu};
  const Array in(device, dtype, random_values(rows * channels, 1)),
      out_gradient(device, dtype, random_values(rows * channels, 2)),
      addend(device, dtype, random_values(rows * channels, 5)),
      residual(device, dtype, random_values(rows * channels, 6)),
      weight(device, parameter, random_values(channels, 3)),
      bias(device, parameter, random_values(channels, 4));
  const Array mean(device, parameter, channels), deviation(device, parameter, channels),
      running_mean(device, parameter, channels), running_variance(device, parameter, channels),
      weight_gradient(device, parameter, channels), bias_gradient(device, parameter, channels);
  const Array out(device, dtype, rows * channels), inferred(device, dtype, rows * channels),
      inferred_sum(device, dtype, rows * channels), in_gradient(device, dtype, rows * channels),
      sum(device, dtype, rows * channels), residual_gradient(device, dtype, rows * channels);
  const KernelTable& table = kernels(device);
  const Stream stream = current_stream(device);
  BatchNormForward forward{.in = in.data(),
                           .addend = addend.data(),
                           .sum = sum.data(),
                           .weight = weight.data(),
                           .bias = bias.data(),
                           .running_mean = running_mean.data(),
                           .running_variance = running_variance.data(),
                           .residual = residual.data(),
                           .out = out.data(),
                           .saved_mean = mean.data(),
                           .saved_inverse_deviation = deviation.data()};
  table.batch_norm_training(stream, shape, forward);
  forward.sum = inferred_sum.data();
  forward.out = inferred.data();
  table.batch_norm_inference(stream, shape, forward);
  table.batch_norm_backward(stream, shape,
                            {.out_gradient = out_gradient.data(),
                             .in = sum.data(),
                             .out = out.data(),
                             .weight = weight.data(),
                             .bias = bias.data(),
                             .saved_mean = mean.data(),
                             .saved_inverse_deviation = deviation.data(),
                             .residual_gradient = relu ? residual_gradient.data() : nullptr,
                             .in_gradient_so_far = residual.data(),
                             .in_gradient = in_gradient.data(),
                             .weight_gradient = weight_gradient.data(),
                             .bias_gradient = bias_gradient.data()});
  return {out.values(),
          mean.values(),
          deviation.values(),
          running_mean.values(),
          inferred.values(),
          inferred_sum.values(),
          running_variance.values(),
          in_gradient.values(),
          weight_gradient.values(),
          bias_gradient.values(),
          sum.values(),
          residual_gradient.values()};
}

std::vector<std::vector<double>> cross_entropy(Device device, DType dtype) {
  constexpr int64_t rows = 37, classes = 45;
  std::vector<double> labels;
  for (int64_t row = 0; row < rows; ++row) labels.push_back(double(row * 7 % classes));
  const Array logits(device, dtype, random_values(rows * classes, 1)), label(device, DType::i64, labels);
  const DType parameter = reference_type(dtype);
  const Array losses(device, parameter, rows), gradient(device, dtype, rows * classes);
  kernels(device).softmax_cross_entropy(
      current_stream(device), {logits.data(), dtype, 2, {rows, classes}, {classes, 1}},
      {label.data(), DType::i64, 1, {rows}, {1}}, {losses.data(), parameter, 1, {rows}, {1}},
      {gradient.data(), dtype, 2, {rows, classes}, {classes, 1}});
  return {losses.values(), gradient.values()};
}

}  // namespace

TEST_CASE("CUDA beside the CPU: convolution") {
  if (no_gpu()) return;
  compare([](Device d, DType t) { return convolve(d, t, {4, 16, 16, 16, 32, 3, 3, 1, 1}); });
  compare([](Device d, DType t) { return convolve(d, t, {4, 16, 15, 17, 32, 3, 3, 2, 1}); });
  compare([](Device d, DType t) { return convolve(d, t, {4, 3, 16, 16, 16, 3, 3, 1, 1}); });
  compare([](Device d, DType t) { return convolve(d, t, {4, 16, 16, 16, 32, 1, 1, 2, 0}); });
  compare([](Device d, DType t) { return convolve(d, t, {4, 16, 16, 16, 32, 3, 3, 1, 2, 2, 4}); });
}

TEST_CASE("CUDA beside the CPU: matrix product") {
  if (no_gpu()) return;
  compare(multiply<false, false>);
  compare(multiply<true, false>);
  compare(multiply<false, true>);
  compare(multiply<true, true>);
}

TEST_CASE("CUDA beside the CPU: batch norm") {
  if (no_gpu()) return;
  compare(normalise<1000, 16, true>);
  compare(normalise<4099, 40, false>);
  compare(normalise<77, 3, true>);
  compare(normalise<9, 1032, false>);
}

TEST_CASE("CUDA beside the CPU: softmax cross entropy") {
  if (no_gpu()) return;
  compare(cross_entropy);
}

TEST_CASE("CUDA: two runs of every kernel give the same bits") {
  if (no_gpu()) return;
  const auto twice = [](Operation operation) {
    for (const DType dtype : {DType::f32, DType::bf16}) CHECK(operation(gpu, dtype) == operation(gpu, dtype));
  };
  twice([](Device d, DType t) { return convolve(d, t, {64, 64, 32, 32, 64, 3, 3, 1, 1}); });
  twice(multiply<false, true>);
  twice(normalise<100000, 64, true>);
  twice(cross_entropy);
}

TEST_CASE("CUDA: a captured graph does its work at each replay, on what its memory holds then") {
  if (no_gpu()) return;
  const ConvShape shape{4, 16, 16, 16, 16, 3, 3, 1, 1};
  const int64_t count = 4 * 16 * 16 * 16;
  const Array in(gpu, DType::f32, random_values(count, 1)),
      weight(gpu, DType::f32, random_values(16 * 9 * 16, 2)), middle(gpu, DType::f32, count),
      out(gpu, DType::f32, count);
  const auto body = [&] {
    const KernelTable& table = kernels(gpu);
    const Stream stream = current_stream(gpu);
    table.conv_forward(stream, shape, in.data(), weight.data(), middle.data());
    table.conv_forward(stream, shape, middle.data(), weight.data(), out.data());
  };
  body();
  const std::vector<double> first = out.values();

  const Graph graph = Graph::capture(gpu, body);
  // Memory that eager work takes now must not be what the graph writes.
  const Array bystander(gpu, DType::f32, random_values(count, 3));
  const std::vector<double> before = bystander.values();
  const Array other(gpu, DType::f32, random_values(count, 4));
  copy_bytes(gpu, in.data(), gpu, other.data(), static_cast<size_t>(count) * sizeof(float));
  graph.replay();
  const std::vector<double> replayed = out.values();
  CHECK(replayed != first);
  CHECK(bystander.values() == before);
  body();
  CHECK(out.values() == replayed);
}

TEST_CASE("CUDA: copies from and to the host inside a capture are Errors, and the device works on") {
  if (no_gpu()) return;
  const Array values(gpu, DType::f32, random_values(10, 1));
  const std::vector<float> host(10);
  CHECK_THROWS_AS(Graph::capture(gpu, [&] { values.values(); }), Error);
  CHECK_THROWS_AS(Graph::capture(gpu, [&] { copy_bytes(gpu, values.data(), cpu, host.data(), 40); }), Error);
  CHECK(values.values() == random_values(10, 1));
}

TEST_CASE("CUDA: without a GPU the program starts, and asking for one is an Error") {
  if (cuda_device_count() > 0) return;
  CHECK_THROWS_WITH_AS(static_cast<void>(kernels(gpu)), doctest::Contains("0 usable GPUs"), Error);
  CHECK_THROWS_AS(static_cast<void>(current_stream(gpu)), Error);
  CHECK_THROWS_AS(static_cast<void>(Graph::capture(gpu, [] {})), Error);
}
