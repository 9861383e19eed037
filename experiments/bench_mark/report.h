// What a run of bench_mark found: goals, tables, plots, JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "experiments/bench_mark/gradient.h"
#include "experiments/bench_mark/verification.h"
#include "experiments/html_report.h"
#include "experiments/table.h"

namespace dw {

struct MarkBenchmark {
  std::vector<GradientTime> gradients;
  std::vector<GradientTime> compared;  ///< beside PyTorch; empty where it was not measured
  std::vector<VerificationTime> verifications;
  double memory_rate = 0;       ///< bytes a second
  std::string pytorch_version;  ///< empty: not measured
  std::string command;
};

struct MarkGoal {
  std::string what;
  std::string goal, found;
  bool applies = true;  ///< false: not measured, or too small a problem to tell
  bool met = false;
};

std::vector<MarkGoal> goals_of(const MarkBenchmark& benchmark);

Table gradient_table(const MarkBenchmark& benchmark);
Table verification_table(const MarkBenchmark& benchmark);
Table goal_table(const std::vector<MarkGoal>& goals);

nlohmann::ordered_json json_of(const MarkBenchmark& benchmark);
HtmlReport report_of(const MarkBenchmark& benchmark);

}  // namespace dw
