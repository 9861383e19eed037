// bench_mark: what the mark costs: its gradient against the number of weights, beside the machine's memory
// and PyTorch, and a verification against weights and keys.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/bench_mark/report.h"
#include "experiments/benchmark_files.h"
#include "experiments/command_line.h"
#include "experiments/machine_rates.h"
#include "experiments/number_checks.h"
#include "experiments/progress.h"

namespace dw {
namespace {

struct Options {
  std::string python;
  std::filesystem::path out = "out/bench_mark";
  int64_t weights = 100'000'000, pytorch_weights = 10'000'000, suspect_weights = 25'000'000;
  int keys = 1000, rounds = 7;
  CommonOptions common;
};

// Three sizes a decade, up to the largest.
std::vector<int64_t> sizes_up_to(int64_t largest) {
  std::vector<int64_t> sizes;
  for (double size = static_cast<double>(largest); size > 3e4 && size > static_cast<double>(largest) / 2e3;
       size /= std::cbrt(10))
    sizes.insert(sizes.begin(), static_cast<int64_t>(size));
  return sizes;
}

int run(const Options& options, const std::string& command) {
  apply_common_options(options.common);
  const Device device = parse_device(options.common.device);
  const BenchmarkFiles files(options.out);
  MarkBenchmark result;
  result.command = command;
  std::unique_ptr<ChildProcess> pytorch;
  if (!options.python.empty()) pytorch = start_pytorch_mark(options.python, device, result.pytorch_version);
  GradientPlan plan;
  plan.weights = sizes_up_to(options.weights);
  plan.rounds = options.rounds;
  plan.device = device;
  const size_t steps = (pytorch ? 2 : 1) * plan.weights.size() + 7;
  Progress bar("measuring", steps, "steps");
  const auto progress = [&](const std::string& note) { bar.advance(1, note); };
  plan.progress = progress;
  result.memory_rate = plan.memory_rate = memory_rate(device);
  result.gradients = measure_gradients(plan, nullptr);
  if (pytorch) {
    std::erase_if(plan.weights, [&](int64_t size) { return size > options.pytorch_weights; });
    result.compared = measure_gradients(plan, pytorch.get());
  }
  result.verifications = measure_verification(options.suspect_weights, options.keys, progress);
  bar.finish();

  const std::string json = json_of(result).dump(2) + "\n";
  files.write(report_of(result), json);
  if (options.common.json) {
    fmt::print("{}", json);
    return 0;
  }
  fmt::print("{}\n{}\n{}", gradient_table(result).text(), verification_table(result).text(),
             goal_table(goals_of(result)).text());
  fmt::print("\nmemory moves {:.1f} GB/s; {} threads; report: {}\n", result.memory_rate / 1e9, thread_count(),
             files.page().string());
  return 0;
}

}  // namespace
}  // namespace dw

int main(int argc, char** argv) {
  dw::Options options;
  CLI::App app(
      "Times the mark's gradient against the number of weights, and a verification against weights and keys.",
      "bench_mark");
  app.add_option("--python", options.python, "A Python with PyTorch, to compare the gradient with");
  app.add_option("--out", options.out, "Folder of report.html and result.json")->capture_default_str();
  app.add_option("--weights", options.weights,
                 "Most weights whose gradient is timed, rounded up to whole layers")
      ->check(CLI::Range(int64_t{40'000}, int64_t{4'000'000'000}))
      ->capture_default_str();
  app.add_option("--pytorch-weights", options.pytorch_weights,
                 "Most weights for PyTorch, which takes far more memory")
      ->capture_default_str();
  app.add_option("--suspect-weights", options.suspect_weights, "Weights of the largest file that is verified")
      ->check(CLI::Range(int64_t{10'000}, int64_t{4'000'000'000}))
      ->capture_default_str();
  app.add_option("--keys", options.keys, "Null keys of a verification")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "Measurements of each gradient; their median counts")
      ->check(dw::positive_number())
      ->capture_default_str();
  dw::add_common_options(app, options.common);
  app.footer(R"(Examples:
  bench_mark --threads 2
  bench_mark --threads 2 --python venv/bin/python
  bench_mark --device cuda --weights 36000000

For figures worth keeping, nothing else runs beside.)");
  const std::string command = dw::typed_command("bench_mark", argc, argv);
  return dw::run_program(app, argc, argv, [&] { return dw::run(options, command); });
}
