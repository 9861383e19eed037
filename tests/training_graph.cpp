// The captured training step: the same bits as the eager one, whatever the step is made of. On the CPU a
// graph keeps what CUDA's keeps, so what a capture would forget shows here.
#include <doctest/doctest.h>

#include <memory>

#include "core/distillation.h"
#include "core/files.h"
#include "core/random.h"
#include "core/trainer.h"
#include "datasets/device_batches.h"
#include "datasets/image_batches.h"
#include "datasets/registry.h"
#include "layers/batch_norm.h"
#include "layers/convolution.h"
#include "layers/linear.h"
#include "layers/networks.h"
#include "layers/sequential.h"
#include "layers/simple.h"
#include "tests/devices.h"
#include "tests/watermark_ownership_support.h"
#include "watermark/embedder.h"

using namespace dw;
using dw::test::ScratchFolder;

namespace {

const Dataset& pictures() {
  // Batches of 16, 16, 16 and 2.
  static const Dataset data = load_dataset("synthetic:train=50,test=20");
  return data;
}

// All that must not be frozen into a graph: dropout's draws, running statistics, a mark's tables.
std::unique_ptr<Sequential> small_network(uint64_t seed = 11) {
  auto network = std::make_unique<Sequential>();
  network->add(std::make_unique<Conv2d>(3, 8, 3, Conv2d::Options{.stride = 2, .padding = 1}), "conv1");
  network->add(std::make_unique<BatchNorm2d>(8, BatchNormOptions{.relu = true}), "norm");
  network->add(std::make_unique<Conv2d>(8, 16, 3, Conv2d::Options{.stride = 2, .padding = 1}), "conv2");
  network->add(std::make_unique<Conv2d>(16, 64, 3, Conv2d::Options{.stride = 2, .padding = 1}), "conv3");
  network->add(std::make_unique<Relu>(), "relu");
  network->add(std::make_unique<MaxPool2d>(PoolOptions{}), "pool");
  network->add(std::make_unique<Dropout>(0.2), "dropout");
  network->add(std::make_unique<Flatten>(), "flatten");
  network->add(std::make_unique<Linear>(64 * 4, 10), "fc");
  network->initialize(seed);
  return network;
}

struct Setup {
  bool graph = false, on_device = false, adam = false, mark = false, teacher = false, host_term = false;
  bool resume = false;
  int64_t stop_after = -1;
  DType activations = DType::f32;
  std::filesystem::path out = {};
};

// A pull that works on the host.
class HostPull : public GradientTerm {
 public:
  explicit HostPull(const Module& network) : weight_(network.parameters()[0].tensor) {}
  void add_gradients() override {
    const std::vector<float> weights = weight_.to_vector<float>();
    std::vector<float> pulled = weight_.grad().to_vector<float>();
    for (size_t i = 0; i < pulled.size(); ++i) pulled[i] += 0.1F * weights[i];
    weight_.grad().copy_from(Tensor::from(pulled, weight_.shape()));
  }
  double loss() override { return 0; }

 private:
  Tensor weight_;
};

struct Outcome {
  std::vector<std::vector<double>> state;
  std::vector<EpochMetrics> epochs;
};

Outcome train_with(const Setup& setup, Device device = cpu) {
  const auto network = small_network();
  network->to(device);
  std::unique_ptr<Optimizer> optimizer;
  if (setup.adam)
    optimizer = std::make_unique<Adam>(network->parameters(), Adam::Options{});
  else
    optimizer = std::make_unique<Sgd>(network->parameters(), Sgd::Options{});
  const LoaderOptions loader{.batch_size = 16, .seed = 3};
  const AugmentOptions augmentation{Augmentation::standard, pictures().statistics, 3};
  std::unique_ptr<BatchSource> batches, test;
  if (setup.on_device)
    batches = std::make_unique<DeviceBatches>(pictures().train, loader, augmentation, device);
  else
    batches = std::make_unique<ImageBatches>(pictures().train, loader, augmentation, device);
  test = std::make_unique<ImageBatches>(pictures().test, LoaderOptions{.batch_size = 10, .shuffle = false},
                                        AugmentOptions{Augmentation::none, pictures().statistics, 0}, device);
  TrainingPlan plan;
  plan.epochs = 3;
  plan.learning_rate = setup.adam ? 0.005 : 0.05;
  plan.seed = 4;
  plan.graph = setup.graph;
  plan.activations = setup.activations;
  plan.model_path = setup.out;
  plan.fingerprint = "a test run";
  plan.resume = setup.resume;
  const auto teacher = small_network(12);
  teacher->to(device);
  if (setup.teacher) plan.loss = distillation_from(*teacher, {});
  static const OwnerKey key = generate_key("graphs", 64);
  std::unique_ptr<GradientTerm> term;
  if (setup.mark) term = std::make_unique<Embedder>(*network, "small", key, EmbedOptions{.strength = 4});
  if (setup.host_term) term = std::make_unique<HostPull>(*network);
  TrainingObserver observer;
  int64_t last = 0;
  observer.on_step = [&](int64_t step, int64_t, double, double) { last = step; };
  observer.stop_requested = [&] { return setup.stop_after >= 0 && last >= setup.stop_after; };
  Outcome outcome;
  outcome.epochs = train(*network, *optimizer, *batches, test.get(), term.get(), plan, observer).epochs;
  for (const NamedTensor& entry : network->state()) outcome.state.push_back(entry.tensor.to_vector<double>());
  return outcome;
}

void check_equal(const Outcome& found, const Outcome& expected) {
  CHECK(found.state == expected.state);
  REQUIRE(found.epochs.size() == expected.epochs.size());
  for (size_t i = 0; i < found.epochs.size(); ++i) {
    CHECK(found.epochs[i].train_loss == expected.epochs[i].train_loss);
    CHECK(found.epochs[i].train_accuracy == expected.epochs[i].train_accuracy);
    CHECK(found.epochs[i].test_loss == expected.epochs[i].test_loss);
    CHECK(found.epochs[i].mark_loss == expected.epochs[i].mark_loss);
  }
}

}  // namespace

TEST_CASE("training graph: captured and eager steps end with the same bits, on every device") {
  for_each_device([](Device device) {
    for (Setup setup : {Setup{}, Setup{.adam = true}, Setup{.mark = true}, Setup{.teacher = true},
                        Setup{.activations = DType::bf16}, Setup{.mark = true, .activations = DType::bf16}}) {
      CAPTURE(setup.adam);
      CAPTURE(setup.mark);
      CAPTURE(setup.teacher);
      CAPTURE(name_of(setup.activations));
      const Outcome eager = train_with(setup, device);
      setup.graph = true;
      check_equal(train_with(setup, device), eager);
      setup.on_device = true;
      check_equal(train_with(setup, device), eager);
    }
  });
}

TEST_CASE("training graph: stopped and resumed, captured or not, it ends with the same bits") {
  for (const bool on_device : {false, true}) {
    const Outcome straight = train_with({.on_device = on_device, .mark = true});
    for (const int64_t stop : {1, 3, 4, 6, 11}) {
      for (const bool graph_first : {false, true}) {
        CAPTURE(stop);
        const ScratchFolder folder;
        Setup setup{.graph = graph_first, .on_device = on_device, .mark = true, .stop_after = stop};
        setup.out = folder / "model.safetensors";
        static_cast<void>(train_with(setup));
        setup.stop_after = -1;
        setup.resume = true;
        setup.graph = true;
        check_equal(train_with(setup), straight);
      }
    }
  }
}

TEST_CASE(
    "training graph: a step is captured once its memory has settled, and its eager batches do not hurt") {
  const auto network = small_network();
  Sgd optimizer(network->parameters(), {});
  DeviceBatches batches(pictures().train, {.batch_size = 16, .seed = 3},
                        {Augmentation::standard, pictures().statistics, 3}, cpu);
  TrainingStep step({.network = *network, .optimizer = optimizer, .batches = batches, .capture = true});
  for (int64_t i = 0; i < 3; ++i) step.run(i, 0.01);
  CHECK(step.is_captured());
  // Over an epoch's end with its short batch, while others take memory.
  std::vector<Tensor> bystanders;
  for (int64_t i = 3; i < 20; ++i) {
    bystanders.push_back(Tensor::full({8, 8, 16, 16}, static_cast<double>(i)));
    step.run(i, 0.01);
  }
  for (size_t i = 0; i < bystanders.size(); ++i) CHECK(bystanders[i].to_vector<float>()[7] == i + 3);
  CHECK(step.totals().values().samples == 5 * 50);
}

TEST_CASE(
    "training graph: a step that settled before another graph took the cached memory is captured later") {
  for_each_device([](Device device) {
    // Two steps settle where nothing was cached before, and leave enough for one to do.
    for (const int64_t steps : {2, 1}) {
      const auto network = small_network();
      network->to(device);
      Sgd optimizer(network->parameters(), {});
      DeviceBatches batches(pictures().train, {.batch_size = 16, .seed = 3},
                            {Augmentation::standard, pictures().statistics, 3}, device);
      TrainingStep step({.network = *network, .optimizer = optimizer, .batches = batches, .capture = true});
      for (int64_t i = 0; i < steps; ++i) step.run(i, 0.01);
      const Tensor number = Tensor::full({1}, 1, DType::f32, device);
      const Graph other = Graph::capture(device, [&] { number.fill(2); });
      for (int64_t i = steps; i < 9; ++i) step.run(i, 0.01);
      CHECK(step.is_captured());
      other.replay();
      CHECK(number.to_vector<float>()[0] == 2);
    }
  });
}

TEST_CASE("training graph: what works on the host is not captured, and trains all the same") {
  const Outcome eager = train_with({.host_term = true});
  check_equal(train_with({.graph = true, .host_term = true}), eager);
  check_equal(train_with({.graph = true, .on_device = true, .host_term = true}), eager);
  const auto network = small_network();
  Sgd optimizer(network->parameters(), {});
  HostPull term(*network);
  ImageBatches batches(pictures().train, {.batch_size = 16}, {}, cpu);
  TrainingStep step(
      {.network = *network, .optimizer = optimizer, .batches = batches, .term = &term, .capture = true});
  for (int64_t i = 0; i < 4; ++i) step.run(i, 0.01);
  CHECK_FALSE(step.is_captured());
}

TEST_CASE("training graph: a loss that reads back cannot be captured, and the error says what helps") {
  const auto network = small_network();
  Sgd optimizer(network->parameters(), {});
  ImageBatches batches(pictures().train, {.batch_size = 16}, {}, cpu);
  TrainingStep step({.network = *network,
                     .optimizer = optimizer,
                     .batches = batches,
                     .loss =
                         [](const Batch& batch, const Tensor& logits) {
                           static_cast<void>(logits.to_vector<float>());
                           return cross_entropy(logits, batch.labels);
                         },
                     .capture = true});
  const auto steps = [&] {
    for (int64_t i = 0; i < 3; ++i) step.run(i, 0.01);
  };
  CHECK_THROWS_WITH_AS(steps(), doctest::Contains("--graph off"), Error);
}

TEST_CASE("random: a step number on the device draws what the same number on the host does") {
  for_each_device([](Device device) {
    const Tensor ones = Tensor::full({1000}, 1, DType::f32, device),
                 step = Tensor::zeros({1}, DType::i64, device);
    for (const uint32_t number : {0U, 1U, 7U, 4'000'000'000U}) {
      step.fill(number);
      std::vector<std::vector<float>> host, on_device;
      {
        const RandomScope scope(5, number);
        for (int i = 0; i < 2; ++i) host.push_back(dropout(ones, 0.5).to_vector<float>());
      }
      const RandomScope scope(5, step);
      for (int i = 0; i < 2; ++i) on_device.push_back(dropout(ones, 0.5).to_vector<float>());
      CHECK(on_device == host);
    }
  });
  CHECK_THROWS_AS(RandomScope(5, Tensor::zeros({1})), Error);
}
