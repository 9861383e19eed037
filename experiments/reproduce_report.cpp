// The report of a reproduction: goals first, then every experiment, as one HTML file and one JSON file.
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "experiments/reproduce.h"
#include "experiments/text.h"

namespace dw {
namespace {

struct GoalCount {
  int met = 0, all = 0;
};

GoalCount count_goals(const Reproduction& reproduction) {
  GoalCount count;
  for (const ExperimentRun& run : reproduction.runs) {
    for (const Goal& goal : run.findings.goals) {
      ++count.all;
      count.met += goal.met;
    }
    if (!run.failure.empty()) ++count.all;
  }
  return count;
}

Table time_table(const Reproduction& reproduction) {
  Table table({"experiment", "cells", "seconds of cells", "again"});
  for (const ExperimentRun& run : reproduction.runs)
    table.add_row({run.experiment->name, std::to_string(run.cells.size()),
                   fmt::format("{:.1f}", seconds_of(run.cells)),
                   "`" + command_for(run.experiment->name, *reproduction.workspace) + "`"});
  const std::vector<WorkRecord>& networks = reproduction.workspace->networks();
  table.add_row({"networks, shared by all", std::to_string(networks.size()),
                 fmt::format("{:.1f}", seconds_of(networks)), ""});
  return table;
}

}  // namespace

Json json_of(const Reproduction& reproduction) {
  const Workspace& workspace = *reproduction.workspace;
  const GoalCount count = count_goals(reproduction);
  Json json = {{"format", "deepwater reproduction 1"},
               {"command", command_for("deepwater reproduce", workspace)},
               {"preset", workspace.settings().name},
               {"seed", workspace.options().seed},
               {"goals", count.all},
               {"goals_met", count.met},
               {"work_seconds", reproduction.work_seconds()},
               {"wall_seconds", reproduction.wall_seconds},
               {"environment", environment_json()},
               {"networks", json_of(workspace.networks(), workspace)},
               {"experiments", Json::array()}};
  for (const ExperimentRun& run : reproduction.runs) json["experiments"].push_back(json_of(run, workspace));
  return json;
}

void write_reproduction(const Reproduction& reproduction) {
  Workspace& workspace = *reproduction.workspace;
  const GoalCount count = count_goals(reproduction);
  HtmlReport report("Deep Water: every experiment");
  report.lead(
      fmt::format("{} experiments on {} with preset {}: {} of {} goals are met. The work took {} in all.",
                  reproduction.runs.size(), workspace.data().name, workspace.settings().name, count.met,
                  count.all, format_duration(reproduction.work_seconds())));
  if (workspace.options().preset == Preset::smoke)
    report.verdict(
        Tone::neutral, "A smoke run",
        "Networks of a few steps on drawn pictures: it shows that everything runs, not what it is worth.");
  report.section("Goals");
  report.paragraph(
      "What the design sets as goals, each computed from this run's measurements. Accuracy is shown with "
      "every "
      "attack: one that costs the network more than 5 points has destroyed what it stole.");
  std::vector<const ExperimentRun*> runs;
  for (const ExperimentRun& run : reproduction.runs) runs.push_back(&run);
  add_goals(report, runs);
  for (const ExperimentRun& run : reproduction.runs) add_to_report(report, run, workspace);
  report.section("How it was run");
  std::vector<std::pair<std::string, std::string>> facts{
      {"Command", command_for("deepwater reproduce", workspace)},
      {"Time of the work", fmt::format("{} (cells and networks, each counted once)",
                                       format_duration(reproduction.work_seconds()))},
      {"Time of this call", fmt::format("{} (finished work of earlier calls is not done again)",
                                        format_duration(reproduction.wall_seconds))}};
  for (const auto& row : run_facts(workspace)) facts.push_back(row);
  report.facts("Run", facts);
  report.table(time_table(reproduction),
               "Each command goes on in the same folder; a cell's file, removed, is computed anew.");
  add_records(report, "Networks", workspace.networks(), workspace);
  report.write(workspace.options().out / "report.html");
  write_file_atomically(workspace.options().out / "result.json", json_of(reproduction).dump(1) + "\n");
}

}  // namespace dw
