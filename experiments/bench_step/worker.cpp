#include "experiments/bench_step/worker.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "core/mixed_precision.h"
#include "core/ops.h"
#include "core/random.h"
#include "core/tape.h"
#include "core/training_step.h"
#include "datasets/image_batches.h"
#include "experiments/machine_rates.h"
#include "experiments/median.h"
#include "kernels/graph.h"
#include "kernels/precision.h"
#include "kernels/profile.h"
#include "layers/networks.h"
#include "watermark/embedder.h"

namespace dw {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Held in memory, as on the other side.
constexpr int64_t picture_count = 4096;

ImageSet drawn_pictures(const NetworkSpec& spec) {
  ImageSet set{"drawn", spec.height, spec.width, spec.channels, {}, nullptr, {}, {}};
  set.pixels.resize(static_cast<size_t>(picture_count * set.image_bytes()));
  std::mt19937_64 generator(1);
  const size_t bytes = set.pixels.size();
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    const uint64_t drawn = generator();
    std::memcpy(&set.pixels[at], &drawn, std::min(sizeof(drawn), bytes - at));
  }
  for (int64_t i = 0; i < picture_count; ++i) set.labels.push_back(i % spec.classes);
  for (int64_t i = 0; i < spec.classes; ++i) set.classes.push_back(std::to_string(i));
  return set;
}

// The same batch again and again.
class OneBatch : public BatchSource {
 public:
  explicit OneBatch(const Batch& batch) : batch_(batch) {}
  int64_t batches() const override { return 1; }
  void seek(int64_t, int64_t) override {}
  Batch next() override { return batch_; }

 private:
  const Batch& batch_;
};

class OurStep {
 public:
  OurStep(const json& request, Device device)
      : device_(device), training_(request.at("training")), batch_(request.at("batch")) {
    spec_.name = request.at("network");
    spec_.channels = request.at("channels");
    spec_.height = request.at("height");
    spec_.width = request.at("width");
    const std::string variant = request.at("variant");
    set_precision(precision_named(request.at("precision").get<std::string>()));
    if (precision() == Precision::bf16) activations_ = DType::bf16;
    frozen_ = variant == "frozen";
    capturing_ = device != cpu || variant == "graph" || frozen_;
    network_ = make_network(spec_);
    network_->initialize(1);
    network_->train(training_);
    network_->to(device);
    fixed_.images = random_normal({batch_, spec_.channels, spec_.height, spec_.width}, {1, 1, 0}, 0, 1,
                                  DType::f32, device, Layout::channels_last);
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < batch_; ++i) labels.push_back(i % spec_.classes);
    fixed_.labels = Tensor::from(labels, {batch_}, device);
    if (training_) {
      optimizer_ = std::make_unique<Sgd>(network_->parameters(), Sgd::Options{});
      optimizer_->set_learning_rate(rate);
    }
    // A strength that also the smaller network has room for.
    if (variant == "marked")
      embedder_ = std::make_unique<Embedder>(*network_, spec_.name, generate_key("benchmark"),
                                             EmbedOptions{.strength = 7});
  }

  struct Times {
    double step = 0, mark = 0;  // milliseconds
  };
  /// On the CPU medians; on CUDA, where steps overlap, the mean of all. What is captured there was captured
  /// before the clock starts.
  Times run(bool with_data, int steps) {
    std::vector<double> step_times, mark_times;
    if (device_ != cpu && started_ && training_ && !Profile::is_active()) settle(with_data);
    started_ = true;
    synchronize(device_);
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < steps; ++i) {
      const Clock::time_point start = Clock::now();
      const double mark = once(with_data);
      mark_times.push_back(mark);
      step_times.push_back(milliseconds_since(start) - mark);
    }
    if (device_ == cpu) return {median(step_times), median(mark_times)};
    synchronize(device_);
    return {milliseconds_since(begin) / steps, 0};
  }

  double peak_megabytes() const {
    if (device_ != cpu) return static_cast<double>(memory_statistics(device_).reserved) / (1 << 20);
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024;
  }

 private:
  static constexpr double rate = 0.01;

  // Milliseconds of it that the mark took.
  double once(bool with_data) {
    const ProfiledStep profiled(training_ ? training_step : evaluation_step);
    if (training_ && device_ != cpu) {
      device_step(with_data).run(steps_done_++, rate);
      return 0;
    }
    if (!training_ && capturing_ && !Profile::is_active()) {
      infer_captured();
      return 0;
    }
    const Batch batch = with_data ? batches().next() : fixed_;
    if (!training_) {
      static_cast<void>((*network_)(batch.images));
      return 0;
    }
    {
      Tape tape;
      tape.backward(cross_entropy((*network_)(batch.images), batch.labels));
    }
    double mark = 0;
    if (embedder_) {
      const Clock::time_point start = Clock::now();
      embedder_->add_gradients();
      mark = milliseconds_since(start);
    }
    optimizer_->step();
    return mark;
  }

  // As `deepwater train` does it on CUDA: the whole step one graph, the pictures on the device. Only one such
  // step at a time, on one batch or with data: its graph keeps the memory of all activations.
  TrainingStep& device_step(bool with_data) {
    if (device_step_ && device_step_has_data_ == with_data) return *device_step_;
    device_step_.reset();
    device_step_has_data_ = with_data;
    device_step_ = std::make_unique<TrainingStep>(StepParts{.network = *network_,
                                                            .optimizer = *optimizer_,
                                                            .batches = with_data ? batches() : one_batch_,
                                                            .term = embedder_.get(),
                                                            .capture = true,
                                                            .activations = activations_});
    return *device_step_;
  }

  // Steps until one is replayed.
  void settle(bool with_data) {
    constexpr int most = 10;
    for (int i = 0; i < most && !device_step(with_data).is_captured(); ++i)
      static_cast<void>(once(with_data));
    require(device_step_->is_captured(), "after {} steps none was captured", most);
  }

  // The first runs fill pools and caches.
  void infer_captured() {
    const auto infer = [this] {
      const auto forward = [this] { output_ = (*network_)(fixed_.images.to(activations_)); };
      output_ = Tensor();
      if (!mixed_) return forward();
      mixed_->compute(forward);
    };
    if (activations_ != DType::f32 && !mixed_) mixed_.emplace(*network_);
    constexpr int64_t eager_runs = 2;
    if (steps_done_++ < eager_runs) return infer();
    if (!graph_)
      graph_ = std::make_unique<Graph>(Graph::capture(device_, infer, {.constant_filters = frozen_}));
    graph_->replay();
  }

  BatchSource& batches() {
    if (!batches_) {
      pictures_ = drawn_pictures(spec_);
      AugmentOptions augmentation;
      augmentation.augmentation = spec_.channels == 1 ? Augmentation::crop : Augmentation::standard;
      augmentation.statistics = {{0.5F, 0.5F, 0.5F}, {0.29F, 0.29F, 0.29F}};
      batches_ = make_batches(pictures_, {.batch_size = batch_, .drop_last = true}, augmentation, device_);
    }
    return *batches_;
  }

  Device device_;
  bool training_;
  bool capturing_ = false, frozen_ = false;
  int64_t batch_;
  DType activations_ = DType::f32;
  NetworkSpec spec_;
  std::unique_ptr<Module> network_;
  Batch fixed_;
  OneBatch one_batch_{fixed_};
  std::unique_ptr<Sgd> optimizer_;
  std::unique_ptr<Embedder> embedder_;
  ImageSet pictures_;
  std::unique_ptr<BatchSource> batches_;
  int64_t steps_done_ = 0;
  std::optional<MixedPrecision> mixed_;  // of inference, with its output
  Tensor output_;
  std::unique_ptr<TrainingStep> device_step_;
  bool device_step_has_data_ = false, started_ = false;
  std::unique_ptr<Graph> graph_;
};

json answer(const json& request, std::unique_ptr<OurStep>& step, Device device) {
  const std::string what = request.at("do");
  if (what == "matmul")
    return {{"operations_per_second",
             matmul_rate(device, request.at("dtype") == "bf16" ? DType::bf16 : DType::f32)}};
  if (what == "prepare") {
    step = std::make_unique<OurStep>(request, device);
    return {{"first_seconds", step->run(request.at("data"), 1).step / 1000}, {"versions", ""}};
  }
  require(step != nullptr, "a worker is asked to prepare before it is asked to {}", what);
  const OurStep::Times times = step->run(request.at("data"), request.at("steps"));
  return {{"milliseconds", times.step},
          {"mark_milliseconds", times.mark},
          {"peak_megabytes", step->peak_megabytes()}};
}

json preparation(const StepProblem& problem, const std::string& variant, Precision precision) {
  return {{"network", problem.network.name},
          {"channels", problem.network.channels},
          {"height", problem.network.height},
          {"width", problem.network.width},
          {"batch", problem.batch},
          {"training", problem.training},
          {"variant", variant},
          {"precision", name_of(precision)}};
}

// Training with the mark, but for a network that is too small for it.
std::unique_ptr<OurStep> step_to_profile(const StepProblem& problem, Device device) {
  const auto step = [&](const char* variant) {
    return std::make_unique<OurStep>(preparation(problem, variant, precision()), device);
  };
  if (!problem.training) return step("plain");
  try {
    return step("marked");
  } catch (const UsageError&) {
    return step("plain");
  }
}

}  // namespace

ProfileReport profile_step(const StepProblem& problem, int steps, const ProfileOptions& options,
                           Device device) {
  const std::unique_ptr<OurStep> step = step_to_profile(problem, device);
  std::unique_ptr<Profile> profile =
      start_profile(options, problem.training ? training_step : evaluation_step);
  step->run(true, profile_warm_up + steps);
  return report_of(std::move(profile), options, device);
}

int run_bench_step_worker(Device device) {
  std::unique_ptr<OurStep> step;
  for (std::string line; std::getline(std::cin, line);) {
    json reply;
    try {
      reply = answer(json::parse(line), step, device);
    } catch (const std::exception& error) {
      reply = {{"error", error.what()}};
    }
    fmt::print("{}\n", reply.dump());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace dw
