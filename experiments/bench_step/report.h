// What a run of bench_step found, as tables, as JSON and as a page with plots.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "experiments/bench_step/rounds.h"
#include "experiments/html_report.h"
#include "experiments/table.h"

namespace dw {

/// One figure of ours beside PyTorch's: times and memory alike, less is better.
struct StepComparison {
  std::string what;  ///< "wrn-10-4 training 64, with data"
  std::string unit;  ///< "ms", "s" or "MB"
  double ours = 0, pytorch = 0;
  std::string our_variant, pytorch_variant;  ///< PyTorch's: the best, or the one the goal names
  double goal = 0;                           ///< of pytorch / ours, at least
  bool complete = true;                      ///< every variant that could have been the best was measured

  double ratio() const { return pytorch / ours; }
  bool has_pytorch() const { return pytorch > 0; }
  bool is_judged() const { return has_pytorch() && (complete || ratio() < goal); }
  bool is_met() const { return is_judged() && ratio() >= goal; }
};

std::vector<StepComparison> step_comparisons(const StepBenchmark& benchmark, const StepPlan& plan);

/// Every comparison, a row each.
Table comparison_table(const std::vector<StepComparison>& comparisons);

/// What has no counterpart, of every training problem: the mark's share of a step, the step's share of the
/// machine's matrix product rate, and how long PyTorch compiled.
Table training_table(const StepBenchmark& benchmark);

/// The figures of every variant of both sides, those aside that failed.
Table variant_table(const StepBenchmark& benchmark);

/// Of the machine's matrix product rate, the rate at which our best variant runs a problem, by the operations
/// of its definition; 0 where it is not known.
double matmul_share(const StepResult& result, const StepBenchmark& benchmark);

/// A line for every variant that failed, of which goals against the best then cannot be said to be met.
std::string failures_text(const StepBenchmark& benchmark);

/// "29 of 30 goals met", comparisons and shares together; and how many could not be judged.
std::string goals_text(const StepBenchmark& benchmark, const StepPlan& plan);

/// Whether a variant of ours failed; but a network may be too small for the mark.
bool our_side_failed(const StepBenchmark& benchmark);

/// Results, comparisons and the environment: hardware, threads, versions, commit, date.
nlohmann::ordered_json step_report_json(const StepBenchmark& benchmark, const StepPlan& plan, Device device,
                                        const StepBenchmarkOptions& options);

/// What the figures stand on, for under the tables: rounds, threads, versions, processor, date, commit.
std::string step_report_footer(const StepBenchmark& benchmark, const StepBenchmarkOptions& options);

/// All of it as a page with plots. `command` is what was typed.
HtmlReport step_report_page(const StepBenchmark& benchmark, const StepPlan& plan,
                            const StepBenchmarkOptions& options, const std::string& command);

}  // namespace dw
