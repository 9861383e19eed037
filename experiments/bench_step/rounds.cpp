#include "experiments/bench_step/rounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

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
    require(line.has_value(), "the process ended without an answer; its last words: {}",
            process_.last_words());
    json reply = json::parse(*line, nullptr, false);
    require(reply.is_object(), "expected an answer in JSON, found: {}", *line);
    if (reply.contains("error")) fail("{}", reply.at("error").get<std::string>());
    return reply;
  }

 private:
  ChildProcess process_;
};

// PyTorch's side knows its variants by name and leaves the precision alone.
json prepare_request(const StepProblem& problem, const std::string& variant, Precision precision, bool data) {
  const NetworkSpec& network = problem.network;
  return {{"do", "prepare"},
          {"network", network.name},
          {"channels", network.channels},
          {"height", network.height},
          {"width", network.width},
          {"batch", problem.batch},
          {"training", problem.training},
          {"variant", variant},
          {"precision", name_of(precision)},
          {"data", data}};
}

// A variant while it is measured.
struct Runner {
  bool ours = true;
  VariantResult result;
  std::unique_ptr<Worker> worker;  // null before, after, and once it failed
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
    for (const std::string& variant : plan_.our_variants(problem_)) add_runner(true, variant);
    for (const std::string& variant : plan_.pytorch_variants(problem_)) add_runner(false, variant);
    if (problem_.taking_turns)
      measure(runners_);
    else
      for (Runner& runner : runners_) measure({&runner, 1});
    StepResult result{problem_, {}, {}};
    for (const Runner& runner : runners_) {
      if (runner.ours)
        result.ours.push_back(runner.finished());
      else if (benchmark_.pytorch_error.empty())
        result.pytorch.push_back(runner.finished());
    }
    if (!plan_.marked_beside.empty()) find_mark(result.ours);
    if (problem_.training) measure_starts(result);
    return result;
  }

 private:
  void note(const std::string& text) const {
    if (options_.progress) options_.progress(problem_.name() + ": " + text);
  }

  void add_runner(bool ours, const std::string& variant) {
    Runner& runner = runners_.emplace_back();
    runner.ours = ours;
    runner.result.variant = variant;
  }

  json request(const std::string& variant, bool data) const {
    return prepare_request(problem_, variant, plan_.precision_of(variant), data);
  }

  // Processes from their start to their end, each with its turn in every round.
  void measure(std::span<Runner> runners) {
    for (Runner& runner : runners) start(runner);
    for (int round = 0; round < options_.rounds; ++round) {
      for (const bool data : {false, true})
        for (Runner& runner : runners)
          if (!data || has_data(runner)) guarded(runner, [&] { runner.turn(data); });
      note(fmt::format("round {} of {}", round + 1, options_.rounds));
    }
    for (Runner& runner : runners) runner.worker.reset();
  }

  // The mark costs the same whatever the pictures.
  bool has_data(const Runner& runner) const { return problem_.training && runner.result.variant != "marked"; }

  void find_mark(std::vector<VariantResult>& ours) const {
    const auto named = [&](const std::string& name) {
      return std::ranges::find_if(
          ours, [&](const VariantResult& each) { return each.variant == name && each.error.empty(); });
    };
    const auto marked = named("marked"), plain = named(plan_.marked_beside);
    if (marked != ours.end() && plain != ours.end())
      marked->mark_milliseconds = std::max(0.0, marked->milliseconds - plain->milliseconds);
  }

  // What fails is told in the report; the other variants go on.
  template <typename Body>
  void guarded(Runner& runner, const Body& body) {
    if (!runner.worker) return;
    try {
      body();
    } catch (const std::exception& error) {
      runner.result.error = error.what();
      runner.worker.reset();
    }
  }

  void start(Runner& runner) {
    if (!runner.ours && !benchmark_.pytorch_error.empty()) return;
    note("starting " + runner.result.variant);
    runner.worker = std::make_unique<Worker>(runner.ours ? options_.our_command : options_.pytorch_command);
    guarded(runner, [&] {
      const json reply = runner.worker->ask(request(runner.result.variant, false));
      runner.result.first_seconds = reply.at("first_seconds");
      if (!runner.ours) benchmark_.pytorch_versions = reply.at("versions");
      warm_up(runner);
    });
    // Where the first variant fails there is no PyTorch at all.
    if (!runner.ours && benchmark_.pytorch_versions.empty()) benchmark_.pytorch_error = runner.result.error;
  }

  void warm_up(Runner& runner) {
    if (has_data(runner)) runner.turn(true);
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
      worker.ask(request(variant, true));
      return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    if (!result.ours.front().error.empty()) return;
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
  std::vector<Runner> runners_;
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
