#include "experiments/bench_step/worker.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/ops.h"
#include "core/optimizer.h"
#include "core/random.h"
#include "core/tape.h"
#include "datasets/image_batches.h"
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
  uint32_t state = 1;
  for (uint8_t& byte : set.pixels) byte = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  for (int64_t i = 0; i < picture_count; ++i) set.labels.push_back(i % spec.classes);
  for (int64_t i = 0; i < spec.classes; ++i) set.classes.push_back(std::to_string(i));
  return set;
}

class OurStep {
 public:
  OurStep(const json& request, Device device)
      : device_(device), training_(request.at("training")), batch_(request.at("batch")) {
    spec_.name = request.at("network");
    spec_.channels = request.at("channels");
    spec_.height = request.at("height");
    spec_.width = request.at("width");
    const std::string variant = request.at("variant");
    set_precision(variant == "tf32" ? Precision::tf32 : Precision::fp32);
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
      optimizer_->set_learning_rate(0.01);
    }
    // A strength that also the smaller network has room for.
    if (variant == "marked")
      embedder_ = std::make_unique<Embedder>(*network_, spec_.name, generate_key("benchmark"),
                                             EmbedOptions{.strength = 7});
  }

  struct Times {
    double step = 0, mark = 0;  // milliseconds
  };
  /// On the CPU medians; on CUDA, where steps overlap, the mean of all.
  Times run(bool with_data, int steps) {
    std::vector<double> step_times, mark_times;
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
  // Milliseconds of it that the mark took.
  double once(bool with_data) {
    const ProfiledStep profiled(training_ ? training_step : evaluation_step);
    const Batch batch = with_data ? loaded() : fixed_;
    if (!training_) {
      static_cast<void>((*network_)(batch.images));
      return 0;
    }
    if (device_ != cpu && !Profile::is_active()) {
      replay(batch);
      return 0;
    }
    learn(batch);
    double mark = 0;
    if (embedder_) {
      const Clock::time_point start = Clock::now();
      embedder_->add_gradients();
      mark = milliseconds_since(start);
    }
    optimizer_->step();
    return mark;
  }

  void learn(const Batch& batch) {
    Tape tape;
    tape.backward(cross_entropy((*network_)(batch.images), batch.labels));
  }

  // The step as one graph, of the fixed batch's tensors.
  void replay(const Batch& batch) {
    if (!graph_) {
      const auto step = [this] {
        learn(fixed_);
        optimizer_->step();
      };
      step();
      graph_ = std::make_unique<Graph>(Graph::capture(device_, step));
    }
    if (batch.images.raw_data() != fixed_.images.raw_data()) {
      fixed_.images.copy_from(batch.images);
      fixed_.labels.copy_from(batch.labels);
    }
    graph_->replay();
  }

  Batch loaded() {
    if (!batches_) {
      pictures_ = drawn_pictures(spec_);
      AugmentOptions augmentation;
      augmentation.augmentation = spec_.channels == 1 ? Augmentation::crop : Augmentation::standard;
      augmentation.statistics = {{0.5F, 0.5F, 0.5F}, {0.29F, 0.29F, 0.29F}};
      batches_ = std::make_unique<ImageBatches>(
          pictures_, LoaderOptions{.batch_size = batch_, .drop_last = true}, augmentation, device_);
    }
    return batches_->next();
  }

  Device device_;
  bool training_;
  int64_t batch_;
  NetworkSpec spec_;
  std::unique_ptr<Module> network_;
  Batch fixed_;
  std::unique_ptr<Sgd> optimizer_;
  std::unique_ptr<Embedder> embedder_;
  std::unique_ptr<Graph> graph_;
  ImageSet pictures_;
  std::unique_ptr<ImageBatches> batches_;
};

// The rate of a large square matrix product, the best of several: what this machine can do at all.
double matmul_rate(DType dtype, Device device) {
  const int64_t side = device == cpu ? 1024 : 8192;
  const Tensor a = random_normal({side, side}, {1, 2, 0}, 0, 1, DType::f32, device).to(dtype);
  const Tensor c = Tensor::empty({side, side}, dtype, device);
  const MatmulShape shape{.m = side, .n = side, .k = side, .dtype = dtype};
  double best = 0;
  constexpr int repeats = 5, calls = 4;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    synchronize(device);
    const Clock::time_point start = Clock::now();
    for (int call = 0; call < calls; ++call)
      kernels(device).matmul(current_stream(device), shape, a.raw_data(), a.raw_data(), c.raw_data());
    synchronize(device);
    const double operations = 2.0 * calls * static_cast<double>(side) * static_cast<double>(side * side);
    best = std::max(best, operations / (milliseconds_since(start) / 1000));
  }
  return best;
}

json answer(const json& request, std::unique_ptr<OurStep>& step, Device device) {
  const std::string what = request.at("do");
  if (what == "matmul")
    return {{"operations_per_second",
             matmul_rate(request.at("dtype") == "bf16" ? DType::bf16 : DType::f32, device)}};
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

json preparation(const StepProblem& problem) {
  return {{"network", problem.network.name},
          {"channels", problem.network.channels},
          {"height", problem.network.height},
          {"width", problem.network.width},
          {"batch", problem.batch},
          {"training", problem.training},
          {"variant", problem.training ? "marked" : "fp32"}};
}

}  // namespace

ProfileReport profile_step(const StepProblem& problem, int steps, const ProfileOptions& options,
                           Device device) {
  OurStep step(preparation(problem), device);
  std::unique_ptr<Profile> profile =
      start_profile(options, problem.training ? training_step : evaluation_step);
  step.run(true, profile_warm_up + steps);
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
