#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

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

BarChart chart_named(const std::string& title, const std::string& caption, const std::string& label) {
  BarChart chart;
  chart.figure = {title, caption, chart_width};
  chart.y.label = label;
  chart.y.lowest = 0;
  return chart;
}

// How many times as fast as PyTorch, beside the goals.
BarChart ratio_chart(const Rows& rows, const std::string& title) {
  BarChart chart = chart_named(
      title, "PyTorch's best variant, or the one that is named, beside our best; at 1 both are as fast.",
      "PyTorch's time / ours");
  chart.series = {{"found", {}}, {"goal", {}}};
  for (const StepComparison& row : rows) {
    if (!row.has_pytorch()) continue;
    chart.groups.push_back(row.what);
    chart.series[0].values.push_back(row.ratio());
    chart.series[1].values.push_back(row.goal);
  }
  return chart;
}

// A figure of ours beside PyTorch's.
BarChart side_chart(const Rows& rows, const std::string& title, const std::string& label) {
  BarChart chart = chart_named(title, "Less is better.", label);
  chart.series = {{"this program", {}}, {"PyTorch", {}}};
  for (const StepComparison& row : rows) {
    chart.groups.push_back(row.what);
    chart.series[0].values.push_back(row.ours);
    chart.series[1].values.push_back(row.has_pytorch() ? row.pytorch
                                                       : std::numeric_limits<double>::quiet_NaN());
  }
  return chart;
}

BarChart rate_chart(const StepBenchmark& benchmark) {
  BarChart chart = chart_named(
      "Rate of arithmetic",
      "Operations by the definition of each layer, convolutions and products only; Winograd's algorithm "
      "needs fewer, so that a step can be faster than a matrix product.",
      "% of the matrix product rate");
  chart.series = {{"this program", {}}};
  for (const StepResult& result : benchmark.results) {
    const double share = matmul_share(result, benchmark);
    if (share <= 0) continue;
    chart.groups.push_back(result.problem.name());
    chart.series[0].values.push_back(100 * share);
  }
  chart.horizontal = {{100, "matrix product"}};
  return chart;
}

// Charts with nothing to show are left out, and with the last of them the section.
void add_section(HtmlReport& report, const std::string& title, std::vector<BarChart> charts) {
  std::erase_if(charts, [](const BarChart& chart) { return chart.groups.empty(); });
  if (!charts.empty()) report.section(title);
  for (const BarChart& chart : charts) report.plot(plot(chart), chart.figure.description);
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

  add_section(report, "Time",
              {ratio_chart(rows_with(rows, "ms", " training "), "Training steps"),
               ratio_chart(rows_with(rows, "ms", " inference "), "Inference"), rate_chart(benchmark)});
  add_section(report, "Start and memory",
              {side_chart(rows_with(rows, "s", ""), "From the start of the process to its first step's end",
                          "seconds"),
               side_chart(rows_with(rows, "MB", ""), "Peak memory", "MB")});
  report.section("Every variant");
  report.table(variant_table(benchmark));

  std::vector<std::pair<std::string, std::string>> facts = environment_rows(describe_environment());
  facts.insert(facts.begin(), {"command", command});
  facts.emplace_back(
      "PyTorch", benchmark.pytorch_versions.empty() ? benchmark.pytorch_error : benchmark.pytorch_versions);
  facts.emplace_back("rounds",
                     fmt::format("{}{}", options.rounds, options.rounds == 1 ? "" : ", of which medians"));
  facts.emplace_back("matrix product",
                     fmt::format("{:.0f} GFLOP/s, {}", benchmark.matmul_operations_per_second / 1e9,
                                 name_of(plan.matmul_dtype)));
  report.facts("How this was measured", facts);
  return report;
}

}  // namespace dw
