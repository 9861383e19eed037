#include "experiments/reproduce.h"

#include <algorithm>
#include <chrono>

#include "experiments/progress.h"

namespace dw {
namespace {

std::vector<const Experiment*> chosen(const std::vector<std::string>& only) {
  std::vector<const Experiment*> list;
  if (only.empty()) {
    for (const Experiment& experiment : experiments()) list.push_back(&experiment);
    return list;
  }
  for (const std::string& name : only) list.push_back(&experiment_named(name));
  return list;
}

ExperimentRun run_or_report(const Experiment& experiment, const std::shared_ptr<Workspace>& workspace) {
  try {
    return run_experiment(experiment, workspace);
  } catch (const Interrupted&) {
    throw;
  } catch (const UsageError&) {
    throw;
  } catch (const std::exception& error) {
    ExperimentRun run;
    run.experiment = &experiment;
    run.failure = error.what();
    Progress(experiment.name, 1, "experiments")
        .message(fmt::format("{} failed: {}", experiment.name, run.failure));
    return run;
  }
}

}  // namespace

double Reproduction::work_seconds() const {
  double seconds = seconds_of(workspace->networks());
  for (const ExperimentRun& run : runs) seconds += seconds_of(run.cells);
  return seconds;
}

bool Reproduction::complete() const {
  return std::all_of(runs.begin(), runs.end(), [](const ExperimentRun& run) { return run.failure.empty(); });
}

Reproduction reproduce(const ExperimentContext::Options& options, const std::vector<std::string>& only) {
  const std::vector<const Experiment*> list = chosen(only);
  const auto started = std::chrono::steady_clock::now();
  Reproduction result;
  result.workspace = std::make_shared<Workspace>(options);
  // Missing or malformed data is found out now, not after an hour.
  result.workspace->data();
  if (result.workspace->has_other()) result.workspace->other();
  for (const Experiment* experiment : list) {
    result.runs.push_back(run_or_report(*experiment, result.workspace));
    result.wall_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    write_reproduction(result);
  }
  return result;
}

}  // namespace dw
