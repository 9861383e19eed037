#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "experiments/bench_step/report.h"
#include "experiments/command_line.h"
#include "experiments/plot.h"

namespace dw {
namespace {

constexpr double chart_width = 900;

using Rows = std::vector<StepComparison>;

// Rows of this unit whose name has a part in it.
Rows rows_with(const Rows& all, const std::string& unit, const std::string& part) {
  Rows rows;
  std::ranges::copy_if(all, std::back_inserter(rows), [&](const StepComparison& row) {
    return row.unit == unit && row.what.find(part) != std::string::npos;
  });
  return rows;
}

void add_bars(HtmlReport& report, BarChart chart, const std::string& title, const std::string& caption) {
  if (chart.groups.empty()) return;
  chart.figure = {title, caption, chart_width};
  chart.y.lowest = 0;
  report.plot(plot(chart), caption);
}

// How many times as fast as PyTorch, beside the goals.
void add_ratios(HtmlReport& report, const Rows& rows, const std::string& title) {
  BarChart chart;
  chart.y.label = "PyTorch's time / ours";
  chart.series = {{"found", {}}, {"goal", {}}};
  for (const StepComparison& row : rows) {
    if (!row.has_pytorch()) continue;
    chart.groups.push_back(row.what);
    chart.series[0].values.push_back(row.ratio());
    chart.series[1].values.push_back(row.goal);
  }
  add_bars(report, chart, title,
           "PyTorch's best variant, or the one that is named, beside our best; at 1 both are as fast.");
}

// A figure of ours beside PyTorch's.
void add_sides(HtmlReport& report, const Rows& rows, const std::string& title, const std::string& label) {
  BarChart chart;
  chart.y.label = label;
  chart.series = {{"this program", {}}, {"PyTorch", {}}};
  for (const StepComparison& row : rows) {
    chart.groups.push_back(row.what);
    chart.series[0].values.push_back(row.ours);
    chart.series[1].values.push_back(row.has_pytorch() ? row.pytorch
                                                       : std::numeric_limits<double>::quiet_NaN());
  }
  add_bars(report, chart, title, "Less is better.");
}

void add_rates(HtmlReport& report, const StepBenchmark& benchmark) {
  BarChart chart;
  chart.y.label = "% of the matrix product rate";
  chart.series = {{"this program", {}}};
  for (const StepResult& result : benchmark.results) {
    const double share = matmul_share(result, benchmark);
    if (share <= 0) continue;
    chart.groups.push_back(result.problem.name());
    chart.series[0].values.push_back(100 * share);
  }
  chart.horizontal = {{100, "matrix product"}};
  add_bars(report, chart, "Rate of arithmetic",
           "Operations by the definition of each layer, convolutions and products only; Winograd's algorithm "
           "needs fewer, so that a step can be faster than a matrix product.");
}

}  // namespace

HtmlReport step_report_page(const StepBenchmark& benchmark, const StepPlan& plan,
                            const StepBenchmarkOptions& options, const std::string& command) {
  const Rows rows = step_comparisons(benchmark, plan);
  HtmlReport report("Steps beside PyTorch's");
  report.lead(goals_text(benchmark, plan) + ".");
  report.section("Figures and goals");
  std::vector<size_t> missed;
  for (size_t i = 0; i < rows.size(); ++i)
    if (rows[i].is_judged() && !rows[i].is_met()) missed.push_back(i);
  report.table(comparison_table(rows), "Goals are of PyTorch's figure over ours, at least.", missed);
  if (const Table training = training_table(benchmark); !training.rows().empty()) report.table(training);
  if (const std::string failures = failures_text(benchmark); !failures.empty()) report.code(failures);

  report.section("Time");
  add_ratios(report, rows_with(rows, "ms", " training "), "Training steps");
  add_ratios(report, rows_with(rows, "ms", " inference "), "Inference");
  add_rates(report, benchmark);
  report.section("Start and memory");
  add_sides(report, rows_with(rows, "s", ""), "From the start of the process to its first step's end",
            "seconds");
  add_sides(report, rows_with(rows, "MB", ""), "Peak memory", "MB");
  report.section("Every variant");
  report.table(variant_table(benchmark));

  std::vector<std::pair<std::string, std::string>> facts = environment_rows(describe_environment());
  facts.insert(facts.begin(), {"command", command});
  facts.emplace_back(
      "PyTorch", benchmark.pytorch_versions.empty() ? benchmark.pytorch_error : benchmark.pytorch_versions);
  facts.emplace_back("rounds", fmt::format("{}, of which medians", options.rounds));
  facts.emplace_back("matrix product",
                     fmt::format("{:.0f} GFLOP/s, {}", benchmark.matmul_operations_per_second / 1e9,
                                 name_of(plan.matmul_dtype)));
  report.facts("How this was measured", facts);
  return report;
}

}  // namespace dw
