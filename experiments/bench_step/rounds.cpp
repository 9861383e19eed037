#include "experiments/bench_step/rounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/child_process.h"
#include "experiments/median.h"

namespace dw {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

// A worker process, asked one thing at a time.
class Worker {
 public:
  explicit Worker(const std::vector<std::string>& command) : process_(command) {}
  json ask(const json& request) {
    process_.write(request.dump() + "\n");
    const std::optional<std::string> line = process_.read_line();
    require(line.has_value(), "the process ended without an answer");
    json reply = json::parse(*line);
    if (reply.contains("error")) fail("{}", reply.at("error").get<std::string>());
    return reply;
  }

 private:
  ChildProcess process_;
};

json prepare_request(const StepProblem& problem, const std::string& variant, bool data) {
  const NetworkSpec& network = problem.network;
  return {{"do", "prepare"},
          {"network", network.name},
          {"channels", network.channels},
          {"height", network.height},
          {"width", network.width},
          {"batch", problem.batch},
          {"training", problem.training},
          {"variant", variant},
          {"data", data}};
}

// A variant while it is measured.
struct Runner {
  VariantResult result;
  std::unique_ptr<Worker> worker;  // null once it failed
  int steps = 1;
  std::vector<double> plain, with_data, marks;

  void turn(bool data) {
    const json reply = worker->ask({{"do", "run"}, {"data", data}, {"steps", steps}});
    (data ? with_data : plain).push_back(reply.at("milliseconds"));
    marks.push_back(reply.value("mark_milliseconds", 0.0));
    result.peak_megabytes = reply.at("peak_megabytes");
  }
  VariantResult finished() const {
    VariantResult done = result;
    done.milliseconds = median(plain);
    done.milliseconds_with_data = median(with_data);
    if (done.variant == "marked") done.mark_milliseconds = median(marks);
    return done;
  }
};

class ProblemRun {
 public:
  ProblemRun(const StepProblem& problem, const StepPlan& plan, const StepBenchmarkOptions& options,
             StepBenchmark& benchmark)
      : problem_(problem), plan_(plan), options_(options), benchmark_(benchmark) {}

  StepResult run() {
    StepResult result{problem_, {}, {}};
    start(options_.our_command, plan_.our_variants(problem_), ours_);
    if (benchmark_.pytorch_error.empty()) start(options_.pytorch_command, plan_.pytorch_variants, pytorch_);
    for (int round = 0; round < options_.rounds; ++round) {
      for (const bool data : {false, true}) {
        if (data && !problem_.training) continue;
        for (std::vector<Runner>* side : {&ours_, &pytorch_})
          for (Runner& runner : *side)
            if (!data || runner.result.variant != "marked") guarded(runner, [&] { runner.turn(data); });
      }
      note(fmt::format("round {} of {}", round + 1, options_.rounds));
    }
    for (Runner& runner : ours_) result.ours.push_back(runner.finished());
    for (Runner& runner : pytorch_) result.pytorch.push_back(runner.finished());
    ours_.clear();
    pytorch_.clear();
    if (problem_.training) measure_starts(result);
    return result;
  }

 private:
  void note(const std::string& text) const {
    if (options_.progress) options_.progress(problem_.name() + ": " + text);
  }

  // Only our own network can be too small for the mark; PyTorch may lack what a variant needs.
  template <typename Body>
  void guarded(Runner& runner, const Body& body) {
    if (!runner.worker) return;
    try {
      body();
    } catch (const Error& error) {
      const auto& ours = plan_.our_variants(problem_);
      const bool must_work =
          runner.result.variant != "marked" && std::ranges::find(ours, runner.result.variant) != ours.end();
      require(!must_work, "{} in variant {}: {}", problem_.name(), runner.result.variant, error.what());
      runner.result.error = error.what();
      runner.worker.reset();
    }
  }

  void start(const std::vector<std::string>& command, const std::vector<std::string>& variants,
             std::vector<Runner>& side) {
    for (const std::string& variant : variants) {
      note("starting " + variant);
      Runner& runner = side.emplace_back();
      runner.result.variant = variant;
      runner.worker = std::make_unique<Worker>(command);
      guarded(runner, [&] {
        const json reply = runner.worker->ask(prepare_request(problem_, variant, false));
        runner.result.first_seconds = reply.at("first_seconds");
        if (&side == &pytorch_) benchmark_.pytorch_versions = reply.at("versions");
        warm_up(runner);
      });
      // Where the first variant fails there is no PyTorch at all.
      if (&side == &pytorch_ && !runner.result.error.empty() && benchmark_.pytorch_versions.empty()) {
        benchmark_.pytorch_error = runner.result.error;
        side.clear();
        return;
      }
    }
  }

  void warm_up(Runner& runner) {
    if (problem_.training && runner.result.variant != "marked") runner.turn(true);
    runner.turn(false);
    runner.plain.clear();
    runner.turn(false);
    const double milliseconds = runner.plain.back();
    const double fitting = std::ceil(1000 * options_.seconds_a_turn / std::max(milliseconds, 1e-3));
    runner.steps = options_.steps_a_turn.value_or(static_cast<int>(std::clamp(fitting, 1.0, 1000.0)));
    runner.plain.clear();
    runner.with_data.clear();
    runner.marks.clear();
  }

  // Of the variants that start fastest: without anything compiled or captured first.
  void measure_starts(StepResult& result) {
    std::vector<double> ours, pytorch;
    const auto seconds = [&](const std::vector<std::string>& command, const std::string& variant) {
      const Clock::time_point begin = Clock::now();
      Worker worker(command);
      worker.ask(prepare_request(problem_, variant, true));
      return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    for (int i = 0; i < options_.starts; ++i) {
      ours.push_back(seconds(options_.our_command, result.ours.front().variant));
      if (!result.pytorch.empty() && result.pytorch.front().error.empty())
        pytorch.push_back(seconds(options_.pytorch_command, result.pytorch.front().variant));
      note(fmt::format("start {} of {}", i + 1, options_.starts));
    }
    result.ours.front().start_seconds = median(ours);
    if (!pytorch.empty()) result.pytorch.front().start_seconds = median(pytorch);
  }

  const StepProblem& problem_;
  const StepPlan& plan_;
  const StepBenchmarkOptions& options_;
  StepBenchmark& benchmark_;
  std::vector<Runner> ours_, pytorch_;
};

}  // namespace

StepBenchmark run_step_benchmark(const StepPlan& plan, const StepBenchmarkOptions& options) {
  StepBenchmark benchmark;
  if (options.pytorch_command.empty()) benchmark.pytorch_error = "not asked for";
  for (const StepProblem& problem : plan.problems)
    benchmark.results.push_back(ProblemRun(problem, plan, options, benchmark).run());
  const std::string dtype(name_of(plan.matmul_dtype));
  benchmark.matmul_operations_per_second =
      Worker(options.our_command).ask({{"do", "matmul"}, {"dtype", dtype}}).at("operations_per_second");
  return benchmark;
}

}  // namespace dw
