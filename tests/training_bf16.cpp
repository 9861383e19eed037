// Training in bf16: kernels, gradients beside f32's, and a network that learns.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>

#include "core/mixed_precision.h"
#include "core/ops.h"
#include "core/random.h"
#include "core/tape.h"
#include "core/trainer.h"
#include "layers/networks.h"
#include "tests/devices.h"
#include "tests/training_support.h"

using namespace dw;

namespace {

// Norm of the difference in norms of what is expected.
double relative_difference(const Tensor& found, const Tensor& expected) {
  const std::vector<double> a = found.to_vector<double>(), b = expected.to_vector<double>();
  double difference = 0, norm = 1e-30;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

struct Problem {
  std::unique_ptr<Module> network;
  Tensor images, labels;
};

Problem problem(const std::string& name, Device device) {
  Problem made{make_network({.name = name}), {}, {}};
  made.network->initialize(3);
  made.network->to(device);
  made.images = random_normal({16, 3, 32, 32}, {1, 2, 3}, 0, 1, DType::f32, device, Layout::channels_last);
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < 16; ++i) labels.push_back(i % 2);  // few classes: sums that do not cancel
  made.labels = Tensor::from(labels, {16}, device);
  return made;
}

}  // namespace

TEST_CASE("bf16: gradients of every parameter are near float32's, and are float32") {
  for_each_device([](Device device) {
    for (const std::string name : {"wrn-10-1", "lenet-5", "mlp"}) {
      CAPTURE(name);
      const Problem wide = problem(name, device), narrow = problem(name, device);
      double expected_loss = 0, loss = 0;
      {
        Tape tape;
        const Tensor result = cross_entropy((*wide.network)(wide.images), wide.labels);
        expected_loss = result.item();
        tape.backward(result);
      }
      MixedPrecision mixed(*narrow.network);
      mixed.compute([&] {
        Tape tape;
        const Tensor logits = (*narrow.network)(narrow.images.to(DType::bf16));
        CHECK(logits.dtype() == DType::bf16);
        const Tensor result = cross_entropy(logits.to(DType::f32), narrow.labels);
        loss = result.item();
        tape.backward(result);
      });
      CHECK(loss != expected_loss);  // that it was computed in bf16 at all
      CHECK(loss == doctest::Approx(expected_loss).epsilon(0.01));
      const auto expected = wide.network->parameters(), found = narrow.network->parameters();
      double sum = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        CAPTURE(expected[i].name);
        CHECK(found[i].tensor.dtype() == DType::f32);
        CHECK(found[i].tensor.to_vector<float>() == expected[i].tensor.to_vector<float>());
        REQUIRE(found[i].tensor.grad().defined());
        CHECK(found[i].tensor.grad().dtype() == DType::f32);
        const double difference = relative_difference(found[i].tensor.grad(), expected[i].tensor.grad());
        CHECK(difference < 0.3);
        sum += difference;
      }
      // Batch norm puts 3 in 1,000 values so near to 0 that 8 bits of mantissa change their sign, and ReLU
      // then passes or stops all of their gradient: a root mean square of 5 % a layer.
      CHECK(sum / static_cast<double>(expected.size()) < (name == "wrn-10-1" ? 0.2 : 0.08));
    }
  });
}

TEST_CASE("bf16: a network learns as well as in float32") {
  const auto accuracy = [&](DType activations) {
    const auto network = test::small_network();
    test::Quarters batches(1), test(2);
    Sgd optimizer(network->parameters(), {});
    TrainingPlan plan;
    plan.epochs = 8;
    plan.learning_rate = 0.05;
    plan.activations = activations;
    return train(*network, optimizer, batches, &test, nullptr, plan, {}).epochs.back().test_accuracy;
  };
  const double wide = accuracy(DType::f32), narrow = accuracy(DType::bf16);
  CHECK(wide > 0.8);
  CHECK(narrow > wide - 0.1);
}

TEST_CASE("bf16: a network that is not float32 is refused") {
  const auto network = make_network({.name = "mlp"});
  network->to(DType::f64);
  CHECK_THROWS_AS(MixedPrecision{*network}, Error);
}

TEST_CASE("bf16: a failure leaves the network with its own weights") {
  const auto network = make_network({.name = "mlp"});
  MixedPrecision mixed(*network);
  CHECK_THROWS_AS(mixed.compute([] { fail("stopped"); }), Error);
  CHECK(network->parameters()[0].tensor.dtype() == DType::f32);
}
