// bench_step: training and inference steps, time to the first step and peak memory, ours and PyTorch's beside
// each other in one run. Its parts are in experiments/bench_step/.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/bench_step/report.h"
#include "experiments/bench_step/worker.h"
#include "experiments/benchmark_files.h"
#include "experiments/command_line.h"
#include "experiments/installation.h"
#include "experiments/number_checks.h"
#include "experiments/progress.h"

namespace dw {
namespace {

struct Options {
  std::string python = "python3";
  std::filesystem::path out = "out/bench_step";
  std::vector<std::string> only;
  int rounds = 7, starts = -1, steps = 0;
  bool markdown = false, dry_run = false, worker = false;
  ProfileOptions profile;
  CommonOptions common;
};

// A plan for a device need not have it.
DeviceType device_type(const std::string& name, bool dry_run) {
  if (dry_run && name.starts_with("cuda")) return DeviceType::cuda;
  return parse_device(name).type;
}

void print_plan(const StepPlan& plan) {
  Table table({"problem", "GFLOP a step", "goals: PyTorch / ours"});
  for (const StepProblem& problem : plan.problems) {
    std::vector<std::string> goals;
    for (const StepGoal& goal : problem.goals)
      goals.push_back(fmt::format("{} against {}", goal.ratio, goal.against));
    if (problem.matmul_share_goal > 0)
      goals.push_back(fmt::format("{} of the {} matrix product rate", problem.matmul_share_goal,
                                  name_of(plan.matmul_dtype)));
    const double operations = operations_per_second(problem, 1000);
    table.add_row({problem.name(),
                   operations > 0 ? fmt::format("{:.{}f}", operations / 1e9, operations >= 1e9 ? 1 : 3) : "-",
                   fmt::format("{}", fmt::join(goals, ", "))});
  }
  fmt::print("{}ours in training: {}; in inference: {}\nPyTorch's in training: {}; in inference: {}\n",
             table.text(), fmt::join(plan.our_training, ", "), fmt::join(plan.our_inference, ", "),
             fmt::join(plan.pytorch_training, ", "), fmt::join(plan.pytorch_inference, ", "));
}

StepBenchmarkOptions benchmark_options(const Options& options, Device device, Progress& bar) {
  const std::string threads = std::to_string(thread_count()), name = device == cpu ? "cpu" : "cuda";
  StepBenchmarkOptions result;
  result.our_command = {std::filesystem::read_symlink("/proc/self/exe").string(),
                        "--worker",
                        "--threads",
                        threads,
                        "--device",
                        name};
  if (options.python != "none")
    result.pytorch_command = {options.python, "-uB", source_file("experiments/bench_step/pytorch_side.py"),
                              threads, name};
  result.rounds = options.rounds;
  result.starts = options.starts < 0 ? options.rounds : options.starts;
  if (options.steps > 0) result.steps_a_turn = options.steps;
  result.progress = [&bar](const std::string& note) { bar.advance(1, note); };
  return result;
}

// The problems one by one, only ours.
int run_profiles(const StepPlan& plan, const Options& options, Device device) {
  constexpr int steps = 10;
  auto json = nlohmann::ordered_json::object();
  for (const StepProblem& problem : plan.problems) {
    const ProfileReport report =
        profile_step(problem, options.steps > 0 ? options.steps : steps, options.profile, device);
    if (options.common.json)
      json[problem.name()] = to_json(report);
    else
      fmt::print("{}\n{}\n", problem.name(), to_text(report));
  }
  if (options.common.json) fmt::print("{}\n", json.dump(2));
  return 0;
}

int run(const Options& options, const std::string& command) {
  apply_common_options(options.common);
  const StepPlan plan = step_plan(device_type(options.common.device, options.dry_run), options.only);
  if (options.dry_run) {
    print_plan(plan);
    return 0;
  }
  const Device device = parse_device(options.common.device);
  require_profile_options(options.profile);
  if (options.profile.wanted) return run_profiles(plan, options, device);
  if (options.worker) return run_bench_step_worker(device);
  const BenchmarkFiles files(options.out);
  // Waiting threads that sleep soon slow small steps down, PyTorch's most of all. A benchmark has the machine
  // to itself: both sides wait as OpenMP does by default.
  for (const char* setting : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}) ::unsetenv(setting);
  Progress bar("measuring", 0, "turns");
  const StepBenchmarkOptions settings = benchmark_options(options, device, bar);
  const StepBenchmark benchmark = run_step_benchmark(plan, settings);
  bar.finish();
  if (benchmark.pytorch_versions.empty() && options.python != "none" && !options.common.quiet)
    fmt::print(stderr, "deepwater: only our side is measured, PyTorch of {} gave: {}\n", options.python,
               benchmark.pytorch_error);
  const std::string json = step_report_json(benchmark, plan, device, settings).dump(2) + "\n";
  files.write(step_report_page(benchmark, plan, settings, command), json);
  if (options.common.json) {
    fmt::print("{}", json);
    return our_side_failed(benchmark) ? 1 : 0;
  }
  const Table comparisons = comparison_table(step_comparisons(benchmark, plan)),
              training = training_table(benchmark);
  const auto text = [&](const Table& table) { return options.markdown ? table.markdown() : table.text(); };
  fmt::print("{}\n", text(comparisons));
  if (!training.rows().empty()) fmt::print("{}\n", text(training));
  fmt::print("{}{}\nReport: {}\n{}.\n", failures_text(benchmark), step_report_footer(benchmark, settings),
             files.page().string(), goals_text(benchmark, plan));
  return our_side_failed(benchmark) ? 1 : 0;
}

}  // namespace
}  // namespace dw

int main(int argc, char** argv) {
  dw::Options options;
  CLI::App app("Training and inference steps beside PyTorch's: time, first step, peak memory.", "bench_step");
  app.add_option("--python", options.python, "A Python with PyTorch and NumPy; none: only our side")
      ->capture_default_str();
  app.add_option("--out", options.out, "Folder of report.html and result.json")->capture_default_str();
  app.add_option("--only", options.only, "Problems whose name contains this, as often as needed")
      ->allow_extra_args(false);
  app.add_option("--rounds", options.rounds, "Rounds, in which every side and variant has its turn")
      ->check(dw::positive_number())
      ->capture_default_str();
  app.add_option("--steps", options.steps, "Steps a turn, of which the median counts; default: 0.3 s of them")
      ->check(dw::positive_number());
  app.add_option("--starts", options.starts,
                 "Fresh processes for the time to the first step; default: --rounds")
      ->check(dw::non_negative_number());
  app.add_flag("--markdown", options.markdown, "The tables as Markdown");
  app.add_flag("--dry-run", options.dry_run, "Print the plan; also of a device that is not there");
  app.add_flag("--worker", options.worker)->group("");
  dw::add_profile_options(app, options.profile);
  dw::add_common_options(app, options.common);
  app.footer(R"(Examples:
  bench_step --threads 2 --python venv/bin/python --markdown
  bench_step --python none --only "lenet-5 training" --only "inference 1"
  bench_step --profile --only "wrn-10-4 training" --predict 8,32,64,h200
  bench_step --device cuda --dry-run

A problem is one network, training or inference, and a batch size, as --dry-run lists them. Every variant of a side runs in a
process of its own: PyTorch's are eager in both memory layouts, torch.compile, and for inference that with its weights
frozen (TORCHINDUCTOR_FREEZING); on CUDA eager, channels-last with bf16 autocast, that in a CUDA graph, and
torch.compile(mode="max-autotune"). The best of them counts.
For figures worth keeping nothing else runs beside.)");
  const std::string command = dw::typed_command("bench_step", argc, argv);
  return dw::run_program(app, argc, argv, [&] { return dw::run(options, command); });
}
