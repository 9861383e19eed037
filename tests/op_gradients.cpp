// What follows from the cases of tests/op_cases.h.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <numeric>
#include <regex>
#include <set>

#include "core/files.h"
#include "core/ops.h"
#include "core/random.h"
#include "core/tape.h"
#include "tests/devices.h"
#include "tests/installation.h"
#include "tests/op_cases.h"

using namespace dw;

namespace {

// How an input lies in memory.
enum class Arrangement : uint8_t { contiguous, channels_last, transposed, strided };

Tensor arranged(const Tensor& dense, Arrangement arrangement) {
  const NoGrad pause;
  const int rank = dense.rank();
  switch (arrangement) {
    case Arrangement::channels_last:
      return dense.contiguous(Layout::channels_last);
    case Arrangement::transposed:
      return rank < 2 ? dense
                      : dense.transpose(0, rank - 1).clone().contiguous().transpose(0, rank - 1).detach();
    case Arrangement::strided: {
      if (rank < 1) return dense;
      Shape wide = dense.shape();
      wide.back() *= 2;
      const Tensor holder = Tensor::full(wide, -7, dense.dtype());
      const Tensor view = holder.slice(rank - 1, 0, wide.back(), 2);
      view.copy_from(dense);
      return view.detach();
    }
    case Arrangement::contiguous:
      break;
  }
  return dense;
}

Tensor drawn(const OpInput& input, const PhiloxKey& key) {
  std::vector<double> values = random_normal(input.shape, key, 0, 1, DType::f64).to_vector<double>();
  if (input.values == Values::distinct) {
    std::vector<size_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
    for (size_t rank = 0; rank < order.size(); ++rank)
      values[order[rank]] = 0.05 * (static_cast<double>(rank) - static_cast<double>(order.size()) / 2) + 0.02;
  }
  for (double& value : values) {
    const double unit = std::fabs(std::tanh(value));
    if (input.values == Values::away_from_zero) value = std::copysign(0.2 + unit, value);
    if (input.values == Values::positive) value = 0.5 + 1.5 * unit;
  }
  return Tensor::from(values, input.shape);
}

std::vector<Tensor> inputs_of(const OpCase& op, DType dtype, Device device, Arrangement arrangement) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const Tensor values = drawn(op.inputs[i], {11, static_cast<uint32_t>(i), 0}).to(dtype);
    inputs.push_back(arranged(values, arrangement).to(device).detach());
    inputs.back().set_requires_grad(true);
  }
  return inputs;
}

// A fixed weighting makes any result one number without hiding errors that cancel.
Tensor weights_for(const Tensor& result) {
  return random_normal(result.shape(), {12, 0, 0}, 0, 1, result.dtype(), result.device());
}

double value_of(const OpCase& op, const std::vector<Tensor>& inputs) {
  const Tensor result = op.run(inputs);
  return sum(result * weights_for(result)).item();
}

struct Result {
  std::vector<double> output;
  std::vector<std::vector<double>> gradients;
  std::vector<std::string> operations;
};

Result run_case(const OpCase& op, const std::vector<Tensor>& inputs) {
  Tape tape;
  const Tensor output = op.run(inputs);
  Result result;
  result.operations = tape.operations();
  tape.backward(sum(output * weights_for(output)));
  result.output = output.to_vector<double>();
  for (const Tensor& input : inputs) {
    REQUIRE(input.grad().defined());
    result.gradients.push_back(input.grad().to_vector<double>());
  }
  return result;
}

void check_gradient(const OpCase& op, Arrangement arrangement) {
  CAPTURE(op.name);
  CAPTURE(static_cast<int>(arrangement));
  const std::vector<Tensor> inputs = inputs_of(op, DType::f64, cpu, arrangement);
  const Result result = run_case(op, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<double> start = inputs[i].to_vector<double>();
    double worst = 0;
    for (size_t e = 0; e < start.size(); ++e) {
      constexpr double step = 1e-5;
      std::vector<double> moved = start;
      moved[e] = start[e] + step;
      inputs[i].copy_from(Tensor::from(moved, inputs[i].shape()));
      const double above = value_of(op, inputs);
      moved[e] = start[e] - step;
      inputs[i].copy_from(Tensor::from(moved, inputs[i].shape()));
      const double below = value_of(op, inputs);
      const double expected = (above - below) / (2 * step);
      worst = std::max(worst, std::fabs(result.gradients[i][e] - expected) / (1 + std::fabs(expected)));
    }
    inputs[i].copy_from(Tensor::from(start, inputs[i].shape()));
    CAPTURE(i);
    CHECK(worst < 1e-7);
  }
}

void check_gradients(const std::vector<OpCase>& cases) {
  for (const OpCase& op : cases) {
    for (const Arrangement arrangement :
         {Arrangement::contiguous, Arrangement::channels_last, Arrangement::transposed, Arrangement::strided})
      check_gradient(op, arrangement);
  }
}

std::vector<OpCase> all_cases() {
  std::vector<OpCase> all = elementwise_cases();
  for (const auto& more : {reduction_and_matrix_cases(), network_cases()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

double relative_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, norm = 1e-30;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace

TEST_CASE("gradients of elementwise operations and views equal finite differences") {
  check_gradients(elementwise_cases());
}

TEST_CASE("gradients of reductions and matrix operations equal finite differences") {
  check_gradients(reduction_and_matrix_cases());
}

TEST_CASE("gradients of network operations and layers equal finite differences") {
  check_gradients(network_cases());
}

TEST_CASE("float32 results and gradients equal float64's, on every device") {
  for (const OpCase& op : all_cases()) {
    CAPTURE(op.name);
    const Result expected = run_case(op, inputs_of(op, DType::f64, cpu, Arrangement::contiguous));
    const auto compare = [&](Device device) {
      for (const Arrangement arrangement : {Arrangement::contiguous, Arrangement::strided}) {
        const Result found = run_case(op, inputs_of(op, DType::f32, device, arrangement));
        CHECK(relative_difference(found.output, expected.output) < 2e-5);
        for (size_t i = 0; i < expected.gradients.size(); ++i)
          CHECK(relative_difference(found.gradients[i], expected.gradients[i]) < 1e-4);
      }
    };
    compare(cpu);
    if (cuda_device_count() > 0) compare(Device{DeviceType::cuda, 0});
  }
  if (cuda_device_count() == 0) MESSAGE("skipped on cuda: no GPU is present");
}

TEST_CASE("every operation that records itself has a case") {
  std::set<std::string> covered;
  for (const OpCase& op : all_cases()) {
    const Result result = run_case(op, inputs_of(op, DType::f64, cpu, Arrangement::contiguous));
    covered.insert(result.operations.begin(), result.operations.end());
    const Result single = run_case(op, inputs_of(op, DType::f32, cpu, Arrangement::transposed));
    covered.insert(single.operations.begin(), single.operations.end());
  }
  const std::regex recorded(R"((?:Tape::record\(|differentiable\(\s*BinaryOp::\w+,\s*)\s*"(\w+)\")");
  const auto sources = test::source_folder("core");
  if (!sources) return;
  size_t found = 0;
  for (const auto& file : std::filesystem::directory_iterator(*sources)) {
    if (file.path().extension() != ".cpp") continue;
    const std::string text = read_text_file(file.path());
    for (std::sregex_iterator match(text.begin(), text.end(), recorded), end; match != end; ++match, ++found)
      CHECK_MESSAGE(covered.contains((*match)[1]), "no case in tests/op_cases_*.cpp for ", (*match)[1].str());
  }
  CHECK(found > 30);
}
