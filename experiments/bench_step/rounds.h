// Runs a plan: every side and variant of a problem is a process of its own, and in every round each has its
// turn.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/bench_step/plan.h"

namespace dw {

struct StepBenchmarkOptions {
  std::vector<std::string> our_command;      ///< starts our worker
  std::vector<std::string> pytorch_command;  ///< starts PyTorch's
  int rounds = 7;
  int starts = 7;                   ///< fresh processes for the time to the first step; 0: not measured
  double seconds_a_turn = 0.3;      ///< steps are repeated for about as long
  std::optional<int> steps_a_turn;  ///< instead
  std::function<void(const std::string& note)> progress;
};

/// What one process measured. Milliseconds are medians over the rounds of a turn's figure.
struct VariantResult {
  std::string variant;
  std::string error;  ///< why there is no result; then nothing below counts
  double milliseconds = 0;
  double milliseconds_with_data = 0;  ///< training only
  double mark_milliseconds = 0;       ///< variant "marked" only
  double first_seconds = 0;           ///< the first step alone, compilation included
  double peak_megabytes = 0;
  double start_seconds = 0;  ///< from the start of the process to its first step's end; 0 where not measured
};

struct StepResult {
  StepProblem problem;
  std::vector<VariantResult> ours;
  std::vector<VariantResult> pytorch;  ///< empty without PyTorch
};

struct StepBenchmark {
  std::vector<StepResult> results;
  double matmul_operations_per_second = 0;
  std::string pytorch_versions;  ///< empty where PyTorch could not be measured
  std::string pytorch_error;     ///< then why
};

/// A variant of either side that fails has its reason in the result, and the others go on.
StepBenchmark run_step_benchmark(const StepPlan& plan, const StepBenchmarkOptions& options);

}  // namespace dw
