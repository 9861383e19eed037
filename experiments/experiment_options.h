// The command line that experiments and `deepwater reproduce` share.
#pragma once

#include <functional>
#include <string>

#include "experiments/command_line.h"
#include "experiments/experiment.h"

namespace dw {

struct ExperimentOptions {
  std::string preset = "smoke", data, other;
  std::filesystem::path out;  ///< empty: out/PRESET
  CommonOptions common;
};

/// Adds --preset, --data, --other, --out and the common options; `options` must outlive the parsing.
void add_experiment_options(CLI::App& app, ExperimentOptions& options);

/// Puts the common options into effect.
ExperimentContext::Options context_options(const ExperimentOptions& options);

/// Runs `body` with Ctrl-C caught: Interrupted is one line and exit code 130.
int run_resumable(const std::function<int()>& body);

}  // namespace dw
