// Every experiment in one go, into one report.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/experiment_output.h"

namespace dw {

struct Reproduction {
  std::shared_ptr<Workspace> workspace;
  std::vector<ExperimentRun> runs;
  double wall_seconds = 0;  ///< of this call; finished work of earlier calls took none of it

  /// Of every cell and network, whenever they were computed.
  double work_seconds() const;
  /// Whether no experiment failed. Goals that are not met are findings, not failures.
  bool complete() const;
};

/// Runs the experiments named (empty: all, in the order of the list) and writes OUT/result.json and
/// OUT/report.html after each of them. An experiment that fails is reported as such and the others go on.
/// UsageError for names that are not known and for data that is missing; Interrupted passes through.
Reproduction reproduce(const ExperimentContext::Options& options, const std::vector<std::string>& only);

/// Writes both files.
void write_reproduction(const Reproduction& reproduction);

Json json_of(const Reproduction& reproduction);

}  // namespace dw
