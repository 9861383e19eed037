#include "experiments/experiment_output.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "core/files.h"
#include "experiments/text.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

std::string relative_name(const fs::path& file, const Workspace& workspace) {
  return fs::relative(file, workspace.options().out).string();
}

Json json_of(const Table& table) {
  return {{"columns", table.header()}, {"rows", table.rows()}};
}

void write_files(const ExperimentRun& run, const Workspace& workspace) {
  const fs::path folder = workspace.options().out / run.experiment->name;
  std::set<std::string> names;
  for (const Findings::Section& section : run.findings.sections) {
    if (!section.table) continue;
    std::string name = slug_of(section.title);
    for (int copy = 2; !names.insert(name).second; ++copy)
      name = slug_of(section.title) + fmt::format("-{}", copy);
    write_file_atomically(folder / (name + ".csv"), csv_of(*section.table));
  }
  write_file_atomically(folder / "result.json", json_of(run, workspace).dump(1) + "\n");
}

}  // namespace

double seconds_of(const std::vector<WorkRecord>& records) {
  double seconds = 0;
  for (const WorkRecord& record : records) seconds += record.seconds;
  return seconds;
}

std::string portable(const std::string& path_or_spec) {
  if (path_or_spec.starts_with("synthetic")) return path_or_spec;
  const fs::path path = fs::path(path_or_spec).lexically_normal();
  return (path.filename().empty() ? path.parent_path().filename() : path.filename()).string();
}

std::string command_for(const std::string& program, const Workspace& workspace) {
  std::string command = fmt::format("{} --preset {}", program, workspace.settings().name);
  if (!workspace.options().data.empty()) command += " --data " + portable(workspace.data_spec());
  if (!workspace.options().other.empty()) command += " --other " + portable(workspace.other_spec());
  if (workspace.options().seed != 1) command += fmt::format(" --seed {}", workspace.options().seed);
  return command + " --out " + portable(workspace.options().out.string());
}

std::string csv_of(const Table& table) {
  const auto line = [](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) text += ',';
      if (cells[i].find_first_of(",\"\r\n") == std::string::npos) {
        text += cells[i];
        continue;
      }
      text += '"';
      for (const char c : cells[i]) text += c == '"' ? "\"\"" : std::string(1, c);
      text += '"';
    }
    return text + "\n";
  };
  std::string text = line(table.header());
  for (const std::vector<std::string>& row : table.rows()) text += line(row);
  return text;
}

Json json_of(const std::vector<WorkRecord>& records, const Workspace& workspace) {
  Json list = Json::array();
  for (const WorkRecord& record : records)
    list.push_back({{"name", record.name},
                    {"file", relative_name(record.file, workspace)},
                    {"seconds", record.seconds},
                    {"commit", record.commit},
                    {"date", record.date}});
  return list;
}

Json json_of(const ExperimentRun& run, const Workspace& workspace) {
  Json json = {
      {"experiment", run.experiment->name},   {"title", run.experiment->title},
      {"question", run.experiment->question}, {"command", command_for(run.experiment->name, workspace)},
      {"preset", workspace.settings().name},  {"seed", workspace.options().seed}};
  if (!run.failure.empty()) json["failure"] = run.failure;
  json["goals"] = Json::array();
  for (const Goal& goal : run.findings.goals)
    json["goals"].push_back({{"goal", goal.statement}, {"measured", goal.measured}, {"met", goal.met}});
  json["sections"] = Json::array();
  for (const Findings::Section& section : run.findings.sections) {
    Json entry = {{"title", section.title}, {"text", section.text}};
    if (section.table) entry["table"] = json_of(*section.table);
    if (!section.caption.empty()) entry["caption"] = section.caption;
    json["sections"].push_back(entry);
  }
  json["cells"] = json_of(run.cells, workspace);
  json["cell_seconds"] = seconds_of(run.cells);
  json["wall_seconds"] = run.wall_seconds;
  json["environment"] = environment_json();
  return json;
}

ExperimentRun run_experiment(const Experiment& experiment, const std::shared_ptr<Workspace>& workspace) {
  const auto started = std::chrono::steady_clock::now();
  ExperimentContext context(experiment.name, workspace);
  ExperimentRun run;
  run.experiment = &experiment;
  run.findings = experiment.run(context);
  run.cells = context.cells();
  run.wall_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  write_files(run, *workspace);
  return run;
}

void add_goals(HtmlReport& report, const std::vector<const ExperimentRun*>& runs) {
  Table table({"goal", "measured", "", "experiment"});
  std::vector<size_t> missed;
  for (const ExperimentRun* run : runs) {
    for (const Goal& goal : run->findings.goals) {
      if (!goal.met) missed.push_back(table.rows().size());
      table.add_row({goal.statement, goal.measured, goal.met ? "✓ met" : "✗ not met", run->experiment->name});
    }
    if (!run->failure.empty()) {
      missed.push_back(table.rows().size());
      table.add_row({"the experiment finishes", run->failure, "✗ not met", run->experiment->name});
    }
  }
  if (table.rows().empty()) return;
  report.table(table,
               fmt::format("{} of {} goals are met. Those that are not stand out.",
                           table.rows().size() - missed.size(), table.rows().size()),
               missed);
}

void add_records(HtmlReport& report, const std::string& title, const std::vector<WorkRecord>& records,
                 const Workspace& workspace) {
  if (records.empty()) return;
  std::string text;
  for (const WorkRecord& record : records)
    text += fmt::format("{:>9.1f} s  {}  {}\n             {}\n", record.seconds, record.commit, record.name,
                        relative_name(record.file, workspace));
  report.details(
      fmt::format("{}: {}, {} in all", title, records.size(), format_duration(seconds_of(records))), text);
}

void add_to_report(HtmlReport& report, const ExperimentRun& run, const Workspace& workspace) {
  report.section(run.experiment->title);
  report.paragraph(run.experiment->question);
  if (!run.failure.empty()) report.verdict(Tone::bad, "Not finished", run.failure);
  for (const Goal& goal : run.findings.goals)
    report.verdict(goal.met ? Tone::good : Tone::bad, (goal.met ? "Met: " : "Not met: ") + goal.statement,
                   goal.measured);
  for (const Findings::Section& section : run.findings.sections) {
    report.subsection(section.title);
    if (!section.text.empty()) report.paragraph(section.text);
    if (section.table) report.table(*section.table, section.svg.empty() ? section.caption : "");
    if (!section.svg.empty()) report.plot(section.svg, section.caption);
  }
  report.paragraph(fmt::format(
      "Again: `{}`. Finished cells are kept; delete a cell's file to have that one computed anew.",
      command_for(run.experiment->name, workspace)));
  add_records(report, "Cells", run.cells, workspace);
}

std::vector<std::pair<std::string, std::string>> run_facts(Workspace& workspace) {
  const auto pictures = [](const Dataset& data) {
    return fmt::format("{}: {} training and {} test pictures of {}x{}, {} classes, digest {}", data.name,
                       data.train.size(), data.test.size(), data.train.width, data.train.height,
                       data.train.classes.size(), data.digest);
  };
  const PresetSettings& settings = workspace.settings();
  const Recipe& recipe = settings.recipe;
  std::vector<std::pair<std::string, std::string>> facts{
      {"Preset", settings.name + ": " + settings.description},
      {"Network", fmt::format("{}, {} epochs, batch {}, rate {}, {}", settings.network, recipe.epochs,
                              recipe.batch, recipe.learning_rate, recipe.schedule)},
      {"Data", pictures(workspace.data())}};
  if (workspace.has_other()) facts.emplace_back("Other data", pictures(workspace.other()));
  facts.emplace_back("Seed", std::to_string(workspace.options().seed));
  for (const auto& row : environment_rows(describe_environment())) facts.push_back(row);
  return facts;
}

std::string text_of(const ExperimentRun& run) {
  std::string text = run.experiment->title + "\n";
  for (const Findings::Section& section : run.findings.sections) {
    text += "\n" + section.title + "\n";
    if (!section.text.empty()) text += section.text + "\n";
    if (section.table) text += section.table->text(locale_is_utf8());
  }
  if (!run.findings.goals.empty()) text += "\nGoals\n";
  for (const Goal& goal : run.findings.goals)
    text += fmt::format("  {}  {}: {}\n", goal.met ? "met    " : "NOT MET", goal.statement, goal.measured);
  return text;
}

}  // namespace dw
