// bench_step: the time of one training step, ours and PyTorch's, alternating in one run, and the mark's share
// of it.
#include <sys/resource.h>
#include <unistd.h>

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/ops.h"
#include "core/optimizer.h"
#include "core/random.h"
#include "core/tape.h"
#include "experiments/child_process.h"
#include "experiments/command_line.h"
#include "experiments/progress.h"
#include "experiments/table.h"
#include "layers/networks.h"
#include "watermark/embedder.h"

namespace dw {
namespace {

struct Options {
  std::string python = "python3";
  int rounds = 7, steps = 5;
  CommonOptions common;
};

struct Problem {
  std::string network;
  int64_t batch;
};

// The larger first: peak memory is that of the process so far.
const std::vector<Problem> problems{{"wrn-10-4", 64}, {"wrn-10-1", 128}};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double peak_megabytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

using Clock = std::chrono::steady_clock;
double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Training on one batch of random pictures, with the mark.
class OurStep {
 public:
  OurStep(const Problem& problem, Device device)
      : device_(device),
        network_(make_network({.name = problem.network})),
        images_(random_normal({problem.batch, 3, 32, 32}, {1, 1, 0}, 0, 1, DType::f32, device,
                              Layout::channels_last)) {
    network_->initialize(1);
    network_->to(device);
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < problem.batch; ++i) labels.push_back(i % 10);
    labels_ = Tensor::from(labels, {problem.batch}, device);
    optimizer_ = std::make_unique<Sgd>(network_->parameters(), Sgd::Options{});
    optimizer_->set_learning_rate(0.01);
    // A strength that also the smaller network has room for.
    embedder_ = std::make_unique<Embedder>(*network_, problem.network, generate_key("benchmark"),
                                           EmbedOptions{.strength = 7});
  }

  /// Medians of `steps` steps, in milliseconds: without the mark, and the mark alone.
  struct Times {
    double step, mark;
  };
  Times run(int steps) {
    std::vector<double> step_times, mark_times;
    for (int i = 0; i < steps; ++i) {
      synchronize(device_);
      const Clock::time_point start = Clock::now();
      {
        Tape tape;
        tape.backward(cross_entropy(network_->forward(images_), labels_));
      }
      synchronize(device_);
      const Clock::time_point mark_start = Clock::now();
      embedder_->add_gradients();
      synchronize(device_);
      mark_times.push_back(milliseconds_since(mark_start));
      optimizer_->step();
      synchronize(device_);
      step_times.push_back(milliseconds_since(start) - mark_times.back());
    }
    return {median(step_times), median(mark_times)};
  }

 private:
  Device device_;
  std::unique_ptr<Module> network_;
  Tensor images_, labels_;
  std::unique_ptr<Sgd> optimizer_;
  std::unique_ptr<Embedder> embedder_;
};

struct Row {
  Problem problem;
  double ours = 0, mark = 0, pytorch = 0;     // milliseconds
  double our_memory = 0, pytorch_memory = 0;  // megabytes
};

// The PyTorch side: experiments/bench_step.py, asked for one measurement at a time.
std::unique_ptr<ChildProcess> start_pytorch(const Options& options, std::string& version) {
  auto child = std::make_unique<ChildProcess>(
      std::vector<std::string>{options.python, "-u", DEEPWATER_SOURCE_DIR "/experiments/bench_step.py",
                               std::to_string(thread_count())});
  const std::optional<std::string> greeting = child->read_line();
  if (!greeting || !greeting->starts_with("torch ")) return nullptr;
  version = *greeting;
  return child;
}

Row measure(const Problem& problem, const Options& options, Device device, ChildProcess* pytorch) {
  Row row{problem};
  OurStep step(problem, device);
  std::vector<double> ours, marks, theirs;
  Progress bar("measuring " + problem.network, static_cast<uint64_t>(options.rounds), "rounds");
  const std::string request =
      fmt::format("{} {} {}\n", problem.network.substr(4), problem.batch, options.steps);
  step.run(2);
  for (int round = 0; round < options.rounds; ++round) {
    const OurStep::Times times = step.run(options.steps);
    ours.push_back(times.step);
    marks.push_back(times.mark);
    if (pytorch != nullptr) {
      pytorch->write(request);
      const std::optional<std::string> answer = pytorch->read_line();
      require(answer.has_value(), "the PyTorch side of the benchmark stopped");
      const nlohmann::json reply = nlohmann::json::parse(*answer);
      theirs.push_back(reply.at("milliseconds").get<double>());
      row.pytorch_memory = reply.at("peak_megabytes").get<double>();
    }
    bar.advance();
  }
  row.ours = median(ours);
  row.mark = median(marks);
  row.pytorch = theirs.empty() ? 0 : median(theirs);
  row.our_memory = peak_megabytes();
  return row;
}

int run(const Options& options) {
  apply_common_options(options.common);
  const Device device = parse_device(options.common.device);
  std::string version;
  const std::unique_ptr<ChildProcess> pytorch = start_pytorch(options, version);
  if (!pytorch && !options.common.quiet)
    fmt::print(stderr, "deepwater: {} has no PyTorch: only our side is measured\n", options.python);
  Table table(
      {"step", "ours ms", "PyTorch ms", "PyTorch / ours", "mark ms", "mark %", "ours MB", "PyTorch MB"});
  auto json = nlohmann::ordered_json::array();
  for (const Problem& problem : problems) {
    const Row row = measure(problem, options, device, pytorch.get());
    const bool both = row.pytorch > 0;
    const auto number = [&](double value, const char* format) {
      return both ? fmt::format(fmt::runtime(format), value) : "-";
    };
    table.add_row({fmt::format("{} batch {}", problem.network, problem.batch),
                   fmt::format("{:.1f}", row.ours), number(row.pytorch, "{:.1f}"),
                   number(both ? row.pytorch / row.ours : 0, "{:.2f}"), fmt::format("{:.2f}", row.mark),
                   fmt::format("{:.2f}", 100 * row.mark / row.ours), fmt::format("{:.0f}", row.our_memory),
                   number(row.pytorch_memory, "{:.0f}")});
    json.push_back({{"network", problem.network},
                    {"batch", problem.batch},
                    {"milliseconds", row.ours},
                    {"mark_milliseconds", row.mark},
                    {"peak_megabytes", row.our_memory},
                    {"pytorch_milliseconds", both ? nlohmann::ordered_json(row.pytorch) : nullptr},
                    {"pytorch_peak_megabytes", both ? nlohmann::ordered_json(row.pytorch_memory) : nullptr}});
  }
  if (options.common.json) {
    fmt::print("{}\n", json.dump(2));
    return 0;
  }
  fmt::print("{}", table.text());
  fmt::print("medians of {} rounds of {} steps, the two sides alternating; {} threads; {}\n", options.rounds,
             options.steps, thread_count(), version.empty() ? "PyTorch not measured" : version);
  return 0;
}

}  // namespace
}  // namespace dw

int main(int argc, char** argv) {
  dw::Options options;
  CLI::App app("Times one training step beside PyTorch's, and the mark's share of it.", "bench_step");
  app.add_option("--python", options.python, "A Python that may have PyTorch")->capture_default_str();
  app.add_option("--rounds", options.rounds, "Rounds: ours, then PyTorch's, and so on")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", options.steps, "Steps a round; its median counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  dw::add_common_options(app, options.common);
  app.footer(
      "Example:\n  bench_step --threads 2 --python venv/bin/python\n\nFor figures worth keeping, nothing "
      "else runs beside.");
  return dw::run_program(app, argc, argv, [&] { return dw::run(options); });
}
