// What an experiment leaves behind: result.json, a CSV file for each table, and its part of an HTML report.
#pragma once

#include <string>
#include <vector>

#include "experiments/experiment_workspace.h"
#include "experiments/html_report.h"

namespace dw {

/// One experiment as it was run.
struct ExperimentRun {
  const Experiment* experiment = nullptr;
  Findings findings;
  std::vector<WorkRecord> cells;
  double wall_seconds = 0;
  std::string failure;  ///< why there are no findings; empty: there are
};

/// Runs `experiment` in `workspace` and writes its result.json and CSV files. Interrupted passes through.
ExperimentRun run_experiment(const Experiment& experiment, const std::shared_ptr<Workspace>& workspace);

/// Seconds of all cells, whenever they were computed.
double seconds_of(const std::vector<WorkRecord>& records);

/// A report's `name` of what was asked for, without the folders of this machine: "cifar10",
/// "synthetic:train=192".
std::string portable(const std::string& path_or_spec);

/// The command that runs `program` ("forging", "deepwater reproduce") again with these settings.
std::string command_for(const std::string& program, const Workspace& workspace);

/// Comma-separated, quoted where RFC 4180 says so, one header line.
std::string csv_of(const Table& table);

Json json_of(const ExperimentRun& run, const Workspace& workspace);
Json json_of(const std::vector<WorkRecord>& records, const Workspace& workspace);

/// The experiment's section: question, goals, tables, plots, and how to run it again.
void add_to_report(HtmlReport& report, const ExperimentRun& run, const Workspace& workspace);

/// Goals with what was measured, those not met highlighted.
void add_goals(HtmlReport& report, const std::vector<const ExperimentRun*>& runs);

/// Cells or networks with their times, to unfold.
void add_records(HtmlReport& report, const std::string& title, const std::vector<WorkRecord>& records,
                 const Workspace& workspace);

/// Preset, data, seed and machine.
std::vector<std::pair<std::string, std::string>> run_facts(Workspace& workspace);

/// For the terminal: every table, then the goals.
std::string text_of(const ExperimentRun& run);

}  // namespace dw
