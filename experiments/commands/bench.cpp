#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>

#include "experiments/benchmark_cases.h"
#include "experiments/command_line.h"
#include "experiments/commands/command.h"
#include "experiments/machine_rates.h"
#include "experiments/median.h"
#include "experiments/number_checks.h"
#include "experiments/progress.h"
#include "experiments/table.h"
#include "experiments/text.h"
#include "kernels/graph.h"
#include "kernels/precision.h"
#include "kernels/profile.h"

namespace dw {
namespace {

constexpr int repetitions = 3;  // of which the median counts

struct Options {
  std::string filter;
  bool list = false;
  double min_time = 0.2;
  CommonOptions common;
};

struct Measurement {
  double flops = 0, bytes = 0;
  std::vector<double> seconds;  // of one iteration, in each repetition
};

// Takes google-benchmark's results instead of printing them.
class Collector : public benchmark::BenchmarkReporter {
 public:
  explicit Collector(std::map<std::string, Measurement>& results) : results_(results) {}
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs)
      if (run.run_type == Run::RT_Iteration)
        results_[run.run_name.function_name].seconds.push_back(run.real_accumulated_time /
                                                               static_cast<double>(run.iterations));
  }

 private:
  std::map<std::string, Measurement>& results_;
};

std::vector<BenchmarkCase> chosen_cases(const std::string& filter, Device device) {
  std::vector<BenchmarkCase> cases = kernel_benchmarks(device);
  for (BenchmarkCase& each : workflow_benchmarks(device)) cases.push_back(std::move(each));
  try {
    const std::regex pattern(filter);
    std::erase_if(cases, [&](const BenchmarkCase& each) { return !std::regex_search(each.name, pattern); });
  } catch (const std::regex_error& error) {
    throw UsageError(fmt::format("--filter expects a regular expression, found \"{}\"", filter));
  }
  if (cases.empty()) throw UsageError(fmt::format("no benchmark matches \"{}\" (see --list)", filter));
  return cases;
}

// One iteration, to fill caches and to learn its floor.
void find_floor(const std::function<void()>& work, Device device, Measurement& measurement) {
  Profile profile("benchmark", 0);
  {
    const ProfiledStep step("benchmark");
    work();
    synchronize(device);
  }
  for (const KernelRecord& record : profile.records()) {
    measurement.flops += record.flops;
    measurement.bytes += record.bytes;
  }
}

std::map<std::string, Measurement> measure(const std::vector<BenchmarkCase>& cases, const Options& options,
                                           Device device) {
  std::map<std::string, Measurement> results;
  Progress bar("measuring", cases.size(), "benchmarks");
  std::exception_ptr failure;
  for (const BenchmarkCase& each : cases) {
    std::function<void()> work;
    const auto body = [&, work](benchmark::State& state) mutable {
      try {
        if (!work) {
          work = each.prepare();
          find_floor(work, device, results[each.name]);
        }
        // On CUDA several calls are queued before one waits for them; as a graph where that can be, else the
        // host's part of a call would be what is timed.
        const benchmark::IterationCount batch = device == cpu ? 1 : 32;
        const auto calls = [&] {
          for (benchmark::IterationCount i = 0; i < batch; ++i) work();
        };
        std::optional<Graph> graph;
        if (device != cpu && each.only_queues) graph.emplace(Graph::capture(device, calls));
        while (state.KeepRunningBatch(batch)) {
          graph ? graph->replay() : calls();
          synchronize(device);
        }
      } catch (...) {
        failure = std::current_exception();
        state.SkipWithError("failed");
      }
    };
    benchmark::RegisterBenchmark(each.name.c_str(), body)
        ->MinTime(options.min_time / repetitions)
        ->Repetitions(repetitions)
        ->UseRealTime();
    Collector collector(results);
    benchmark::RunSpecifiedBenchmarks(&collector, "all");
    benchmark::ClearRegisteredBenchmarks();
    if (failure) std::rethrow_exception(failure);
    bar.advance(1, each.name);
  }
  return results;
}

std::string time_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.2f} µs", 1e6 * seconds);
  return seconds < 1 ? fmt::format("{:.3f} ms", 1e3 * seconds) : fmt::format("{:.3f} s", seconds);
}

void print_table(const std::vector<BenchmarkCase>& cases, const std::map<std::string, Measurement>& results,
                 const MachineRates& machine) {
  Table table({"benchmark", "time", "rate", "of machine %"});
  for (const BenchmarkCase& each : cases) {
    const Measurement& m = results.at(each.name);
    const double seconds = median(m.seconds);
    const Floor floor = floor_of(m.flops, m.bytes, machine);
    std::string rate;
    if (floor.by_flops)
      rate = fmt::format("{:.1f} GFLOP/s", m.flops / seconds / 1e9);
    else if (m.bytes > 0)
      rate = fmt::format("{:.1f} GB/s", m.bytes / seconds / 1e9);
    table.add_row({each.name, time_text(seconds), rate,
                   floor.seconds > 0 ? fmt::format("{:.0f}", 100 * floor.seconds / seconds) : ""});
  }
  fmt::print("{}", table.text(locale_is_utf8()));
  const std::string gpu = gpu_description();
  fmt::print(
      "this machine{}{}: matrix product {:.1f} GFLOP/s, triad {:.1f} GB/s, {} threads; {}; medians of {}\n",
      gpu.empty() ? "" : ", ", gpu, machine.flops / 1e9, machine.bytes / 1e9, thread_count(),
      name_of(precision()), repetitions);
}

nlohmann::ordered_json json_of(const std::vector<BenchmarkCase>& cases,
                               const std::map<std::string, Measurement>& results,
                               const MachineRates& machine) {
  using Json = nlohmann::ordered_json;
  const Environment environment = describe_environment();
  const std::string gpu = gpu_description();
  Json json = {{"cpu", environment.cpu},
               {"threads", environment.threads},
               {"gpu", gpu.empty() ? Json() : Json(gpu)},
               {"precision", name_of(precision())},
               {"commit", environment.commit},
               {"date", environment.date},
               {"matmul_gflops", machine.flops / 1e9},
               {"triad_gbytes", machine.bytes / 1e9}};
  auto& list = json["benchmarks"] = Json::array();
  for (const BenchmarkCase& each : cases) {
    const Measurement& m = results.at(each.name);
    list.push_back({{"name", each.name},
                    {"milliseconds", 1e3 * median(m.seconds)},
                    {"floor_milliseconds", 1e3 * floor_of(m.flops, m.bytes, machine).seconds},
                    {"flops", m.flops},
                    {"bytes", m.bytes}});
  }
  return json;
}

int run(const Options& options) {
  apply_common_options(options.common);
  const Device device = parse_device(options.common.device);
  const std::vector<BenchmarkCase> cases = chosen_cases(options.filter, device);
  if (options.list) {
    if (options.common.json) {
      auto names = nlohmann::ordered_json::array();
      for (const BenchmarkCase& each : cases) names.push_back(each.name);
      fmt::print("{}\n", nlohmann::ordered_json{{"benchmarks", names}}.dump(2));
    } else {
      for (const BenchmarkCase& each : cases) fmt::print("{}\n", each.name);
    }
    return 0;
  }
  const std::map<std::string, Measurement> results = measure(cases, options, device);
  const MachineRates machine = measure_machine(device);
  if (options.common.json)
    fmt::print("{}\n", json_of(cases, results, machine).dump(2));
  else
    print_table(cases, results, machine);
  return 0;
}

}  // namespace

void add_bench_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app =
      *program.add_subcommand("bench", "How fast the pieces are, beside what this machine can do");
  app.add_option("--filter", options->filter, "Only benchmarks whose name this regular expression matches");
  app.add_flag("--list", options->list, "Names of the benchmarks, without running them");
  app.add_option("--min-time", options->min_time, "Seconds each benchmark runs at least")
      ->check(positive_number())
      ->capture_default_str();
  add_common_options(app, options->common);
  app.footer(R"(Examples:
  deepwater bench --filter machine
  deepwater bench --filter "conv_.*/wrn-10-4" --min-time 1
  deepwater bench --json > bench.json

A name says kernel, network and problem: conv_forward/wrn-10-4/b64-64x32x32-64-3x3 is a batch of 64 images of 64 channels
and 32x32 pixels, to 64 channels with 3x3 filters. The rate counts what the definition asks for: each tensor read and
written once, each multiplication and addition of a convolution. "of machine" is the larger of its shares of the
machine's own matrix product and memory (triad) rates, measured here; tensors that fit a cache can exceed 100 %, and so
can 3x3 convolutions, which need fewer products than their definition says.
For figures worth keeping nothing else runs beside. A whole step: `bench_step`, and `deepwater train --profile`.)");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
