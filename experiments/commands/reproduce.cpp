#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.h"
#include "experiments/experiment_options.h"
#include "experiments/reproduce.h"
#include "experiments/text.h"

namespace dw {
namespace {

struct Options {
  ExperimentOptions experiment;
  std::vector<std::string> only;
};

int run(const Options& options) {
  return run_resumable([&] {
    const Reproduction result = reproduce(context_options(options.experiment), options.only);
    if (options.experiment.common.json) {
      fmt::print("{}\n", json_of(result).dump(2));
    } else {
      Table table({"experiment", "goals met", "cells", "time"});
      for (const ExperimentRun& entry : result.runs) {
        const auto& goals = entry.findings.goals;
        const auto met = std::count_if(goals.begin(), goals.end(), [](const Goal& goal) { return goal.met; });
        table.add_row({entry.experiment->name,
                       entry.failure.empty() ? fmt::format("{} of {}", met, goals.size()) : "failed",
                       std::to_string(entry.cells.size()), format_duration(seconds_of(entry.cells))});
      }
      fmt::print("{}networks: {}, {}\n{}\n", table.text(locale_is_utf8()),
                 result.workspace->networks().size(),
                 format_duration(seconds_of(result.workspace->networks())),
                 (result.workspace->options().out / "report.html").string());
    }
    return result.complete() ? 0 : 1;
  });
}

std::string experiment_help() {
  std::string text;
  for (const Experiment& experiment : experiments())
    text += fmt::format("  {:<24} {}\n", experiment.name, experiment.title);
  return text;
}

}  // namespace

void add_reproduce_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app = *program.add_subcommand("reproduce", "Run every experiment and write one report");
  add_experiment_options(app, options->experiment);
  app.add_option("--only", options->only, "These experiments alone, separated by commas")->delimiter(',');
  app.footer(fmt::format(R"(Examples:
  deepwater reproduce
  deepwater reproduce --preset quick --data cifar10/ --other caltech101/ --out out/quick
  deepwater reproduce --preset quick --data cifar10/ --out out/quick --only from-scratch,robustness-pruning

Experiments, each also an executable of its own:
{}
Writes OUT/report.html (one file, needs no network) and OUT/result.json. Finished work is kept in OUT: after Ctrl-C
(exit code 130) or a crash the same command goes on where it was. Goals that are not met are shown, and are no failure;
exit code 1 means that an experiment could not be finished.)",
                         experiment_help()));
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
