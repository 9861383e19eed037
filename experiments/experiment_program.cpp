// The main() of every experiment's executable.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "experiments/experiment_options.h"
#include "experiments/experiment_output.h"
#include "experiments/progress.h"

namespace dw {
namespace {

void write_report(const ExperimentRun& run, Workspace& workspace) {
  HtmlReport report(run.experiment->title);
  report.lead(run.experiment->question);
  add_to_report(report, run, workspace);
  report.section("How it was run");
  report.facts("Run", run_facts(workspace));
  add_records(report, "Networks", workspace.networks(), workspace);
  report.write(workspace.options().out / run.experiment->name / "report.html");
}

int run(const Experiment& experiment, const ExperimentOptions& options) {
  const auto workspace = std::make_shared<Workspace>(context_options(options));
  const ExperimentRun result = run_experiment(experiment, workspace);
  write_report(result, *workspace);
  if (options.common.json) {
    fmt::print("{}\n", json_of(result, *workspace).dump(2));
  } else {
    fmt::print("{}\n{}\n", text_of(result),
               (workspace->options().out / experiment.name / "report.html").string());
  }
  return 0;
}

}  // namespace

void add_experiment_options(CLI::App& app, ExperimentOptions& options) {
  app.add_option("--preset", options.preset,
                 "smoke: seconds; quick: minutes on two cores, real pictures; paper: for a GPU")
      ->check(CLI::IsMember({"smoke", "quick", "paper"}))
      ->capture_default_str();
  app.add_option("--data", options.data, "Data set: see `deepwater data --help`; smoke draws its own");
  app.add_option("--other", options.other, "A second data set, for transfer");
  app.add_option("--out", options.out, "Folder of results, networks and finished work; default: out/PRESET");
  options.common.seed = 1;
  add_common_options(app, options.common);
}

ExperimentContext::Options context_options(const ExperimentOptions& options) {
  apply_common_options(options.common);
  if (options.common.seed == 0) throw UsageError("--seed of experiments counts from 1, found 0");
  ExperimentContext::Options result;
  result.preset = parse_preset(options.preset);
  result.out = options.out.empty() ? std::filesystem::path("out") / options.preset : options.out;
  result.data = options.data;
  result.other = options.other;
  result.device = parse_device(options.common.device);
  result.seed = options.common.seed;
  return result;
}

int run_resumable(const std::function<int()>& body) {
  const CatchInterrupts interrupts;
  try {
    return body();
  } catch (const Interrupted& stop) {
    fmt::print(stderr, "deepwater: {}\n", stop.what());
    constexpr int interrupted = 130;
    return interrupted;
  }
}

int run_experiment_program(const std::string& name, int argc, const char* const* argv) {
  const auto experiment = std::find_if(experiments().begin(), experiments().end(),
                                       [&](const Experiment& entry) { return entry.name == name; });
  if (experiment == experiments().end())
    return run_program([&]() -> int {
      experiment_named(name);
      return 1;
    });
  CLI::App app(experiment->title + ". " + experiment->question, name);
  ExperimentOptions options;
  add_experiment_options(app, options);
  app.footer(fmt::format(R"(Examples:
  {0}
  {0} --preset quick --data cifar10/ --other caltech101/ --out out/quick

Writes OUT/{0}/result.json, a CSV file for each table and report.html. Finished cells (OUT/{0}/cells) and networks
(OUT/networks, shared by all experiments) are kept: a run that was cut goes on where it was, with the same command.)",
                         name));
  return run_program(app, argc, argv,
                     [&] { return run_resumable([&] { return run(*experiment, options); }); });
}

}  // namespace dw
