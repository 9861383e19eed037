#include "experiments/bench_step/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/command_line.h"

namespace dw {
namespace {

using Json = nlohmann::ordered_json;
using Figure = double VariantResult::*;

// Three significant digits, so that a column of milliseconds from 0.1 to 1000 can be read.
std::string three_digits(double value) {
  const int decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return fmt::format("{:.{}f}", value, decimals);
}

// The variant with the least of a figure, the marked one aside; null where nobody has it.
const VariantResult* least(const std::vector<VariantResult>& variants, Figure figure,
                           const std::string& named = "best") {
  const VariantResult* best = nullptr;
  for (const VariantResult& variant : variants) {
    const bool counts = variant.error.empty() && variant.*figure > 0 && variant.variant != "marked" &&
                        (named == "best" || variant.variant == named);
    if (counts && (best == nullptr || variant.*figure < best->*figure)) best = &variant;
  }
  return best;
}

const VariantResult* marked(const StepResult& result) {
  for (const VariantResult& variant : result.ours)
    if (variant.variant == "marked" && variant.error.empty()) return &variant;
  return nullptr;
}

double compile_seconds(const StepResult& result) {
  for (const VariantResult& variant : result.pytorch)
    if (variant.error.empty() && (variant.variant == "compile" || variant.variant == "max-autotune"))
      return variant.first_seconds;
  return 0;
}

std::string or_dash(double value, const std::string& text) {
  return value > 0 ? text : "-";
}

// Of a step with the mark, the mark's part; 0 where it is not known.
double mark_share(const StepResult& result) {
  const VariantResult* with_mark = marked(result);
  if (with_mark == nullptr || with_mark->milliseconds <= 0) return 0;
  return with_mark->mark_milliseconds / with_mark->milliseconds;
}

std::string goal_text(double share, const char* relation) {
  return share > 0 ? fmt::format(" (goal {} {:.0f})", relation, 100 * share) : "";
}

bool any_failed(const std::vector<VariantResult>& variants) {
  return std::ranges::any_of(variants, [](const VariantResult& each) { return !each.error.empty(); });
}

// Calls visit(problem, side, variant) for all variants of both sides.
template <typename Visit>
void each_variant(const StepBenchmark& benchmark, const Visit& visit) {
  for (const StepResult& result : benchmark.results) {
    for (const VariantResult& variant : result.ours) visit(result.problem, "ours", variant);
    for (const VariantResult& variant : result.pytorch) visit(result.problem, "PyTorch", variant);
  }
}

Json variants_json(const std::vector<VariantResult>& variants) {
  Json list = Json::array();
  for (const VariantResult& variant : variants) {
    Json entry{{"variant", variant.variant}};
    if (!variant.error.empty()) {
      entry["error"] = variant.error;
      list.push_back(entry);
      continue;
    }
    entry["milliseconds"] = variant.milliseconds;
    if (variant.milliseconds_with_data > 0) entry["milliseconds_with_data"] = variant.milliseconds_with_data;
    if (variant.mark_milliseconds > 0) entry["mark_milliseconds"] = variant.mark_milliseconds;
    entry["first_seconds"] = variant.first_seconds;
    entry["peak_megabytes"] = variant.peak_megabytes;
    if (variant.start_seconds > 0) entry["start_seconds"] = variant.start_seconds;
    list.push_back(entry);
  }
  return list;
}

}  // namespace

double matmul_share(const StepResult& result, const StepBenchmark& benchmark) {
  const VariantResult* best = least(result.ours, &VariantResult::milliseconds);
  if (best == nullptr || benchmark.matmul_operations_per_second <= 0) return 0;
  return operations_per_second(result.problem, best->milliseconds) / benchmark.matmul_operations_per_second;
}

std::vector<StepComparison> step_comparisons(const StepBenchmark& benchmark, const StepPlan& plan) {
  std::vector<StepComparison> comparisons;
  for (const StepResult& result : benchmark.results) {
    const auto compare = [&](const std::string& label, const char* unit, Figure figure,
                             const StepGoal& goal) {
      const VariantResult* ours = least(result.ours, figure);
      if (ours == nullptr) return;
      const VariantResult* pytorch = least(result.pytorch, figure, goal.against);
      const std::string against = goal.against == "best" ? "" : ", against " + goal.against;
      comparisons.push_back({result.problem.name() + label + against, unit, ours->*figure,
                             pytorch != nullptr ? pytorch->*figure : 0, ours->variant,
                             pytorch != nullptr ? pytorch->variant : "", goal.ratio,
                             goal.against != "best" || !any_failed(result.pytorch)});
    };
    for (const StepGoal& goal : result.problem.goals) {
      compare("", "ms", &VariantResult::milliseconds, goal);
      compare(", with data", "ms", &VariantResult::milliseconds_with_data, goal);
    }
    if (!result.problem.training) continue;
    compare(", first step", "s", &VariantResult::start_seconds, plan.first_step);
    compare(", peak memory", "MB", &VariantResult::peak_megabytes, plan.memory);
  }
  return comparisons;
}

Table comparison_table(const std::vector<StepComparison>& comparisons) {
  Table table(
      {"measure", "unit", "ours", "our best", "PyTorch", "its best", "PyTorch / ours", "goal", "met"});
  for (const StepComparison& row : comparisons) {
    const bool both = row.has_pytorch();
    table.add_row({row.what, row.unit, three_digits(row.ours), row.our_variant,
                   both ? three_digits(row.pytorch) : "-", both ? row.pytorch_variant : "-",
                   both ? fmt::format("{:.2f}", row.ratio()) : "-", fmt::format("{:.2f}", row.goal),
                   !row.is_judged() ? "-"
                   : row.is_met()   ? "yes"
                                    : "no"});
  }
  return table;
}

Table training_table(const StepBenchmark& benchmark) {
  Table table({"training", "step ms", "mark ms", "mark %", "matmul rate %", "PyTorch compiles s"});
  for (const StepResult& result : benchmark.results) {
    const VariantResult* best = least(result.ours, &VariantResult::milliseconds);
    if (!result.problem.training || best == nullptr) continue;
    const VariantResult* with_mark = marked(result);
    const double mark = with_mark != nullptr ? with_mark->mark_milliseconds : 0;
    const double share = matmul_share(result, benchmark), compile = compile_seconds(result);
    const StepProblem& problem = result.problem;
    table.add_row(
        {problem.name(), three_digits(best->milliseconds), or_dash(mark, three_digits(mark)),
         or_dash(mark,
                 fmt::format("{:.2f}{}", 100 * mark_share(result), goal_text(problem.mark_share_goal, "≤"))),
         or_dash(share, fmt::format("{:.0f}{}", 100 * share, goal_text(problem.matmul_share_goal, "≥"))),
         or_dash(compile, fmt::format("{:.0f}", compile))});
  }
  return table;
}

Table variant_table(const StepBenchmark& benchmark) {
  Table table({"problem", "side", "variant", "step ms", "with data ms", "first step s", "from its start s",
               "peak MB"});
  each_variant(benchmark, [&](const StepProblem& problem, const char* side, const VariantResult& variant) {
    if (!variant.error.empty()) return;
    const auto figure = [&](Figure of) { return or_dash(variant.*of, three_digits(variant.*of)); };
    table.add_row({problem.name(), side, variant.variant, figure(&VariantResult::milliseconds),
                   figure(&VariantResult::milliseconds_with_data), figure(&VariantResult::first_seconds),
                   figure(&VariantResult::start_seconds), figure(&VariantResult::peak_megabytes)});
  });
  return table;
}

std::string failures_text(const StepBenchmark& benchmark) {
  std::string text;
  each_variant(benchmark, [&](const StepProblem& problem, const char* side, const VariantResult& variant) {
    if (!variant.error.empty())
      text +=
          fmt::format("not measured: {}, {}, {}: {}\n", problem.name(), side, variant.variant, variant.error);
  });
  return text;
}

std::string goals_text(const StepBenchmark& benchmark, const StepPlan& plan) {
  int met = 0, judged = 0, open = 0;
  const auto count = [&](bool known, bool is_met) {
    met += known && is_met ? 1 : 0;
    (known ? judged : open) += 1;
  };
  for (const StepComparison& row : step_comparisons(benchmark, plan)) count(row.is_judged(), row.is_met());
  for (const StepResult& result : benchmark.results) {
    const StepProblem& problem = result.problem;
    if (const double share = mark_share(result); problem.mark_share_goal > 0)
      count(share > 0, share <= problem.mark_share_goal);
    if (const double share = matmul_share(result, benchmark); problem.matmul_share_goal > 0)
      count(share > 0, share >= problem.matmul_share_goal);
  }
  return fmt::format("{} of {} goals met{}", met, judged,
                     open > 0 ? fmt::format(", {} could not be judged", open) : "");
}

bool our_side_failed(const StepBenchmark& benchmark) {
  return std::ranges::any_of(benchmark.results, [](const StepResult& result) {
    return std::ranges::any_of(result.ours, [](const VariantResult& each) {
      return !each.error.empty() && each.variant != "marked";
    });
  });
}

Json step_report_json(const StepBenchmark& benchmark, const StepPlan& plan, Device device,
                      const StepBenchmarkOptions& options) {
  const Environment environment = describe_environment();
  const std::string gpu = gpu_description();
  Json report{{"commit", environment.commit},
              {"date", environment.date},
              {"cpu", environment.cpu},
              {"cores", environment.cores},
              {"threads", environment.threads},
              {"gpu", gpu.empty() ? Json() : Json(gpu)},
              {"compiler", environment.compiler},
              {"pytorch", benchmark.pytorch_versions.empty() ? Json() : Json(benchmark.pytorch_versions)},
              {"device", to_string(device)},
              {"rounds", options.rounds},
              {"matmul",
               {{"dtype", name_of(plan.matmul_dtype)},
                {"operations_per_second", benchmark.matmul_operations_per_second}}}};
  report["comparisons"] = Json::array();
  for (const StepComparison& row : step_comparisons(benchmark, plan)) {
    Json entry{{"what", row.what}, {"unit", row.unit}, {"ours", row.ours}, {"our_variant", row.our_variant}};
    entry["pytorch"] = row.has_pytorch() ? Json(row.pytorch) : Json();
    entry["pytorch_variant"] = row.has_pytorch() ? Json(row.pytorch_variant) : Json();
    entry["goal"] = row.goal;
    entry["met"] = row.is_judged() ? Json(row.is_met()) : Json();
    report["comparisons"].push_back(entry);
  }
  report["problems"] = Json::array();
  for (const StepResult& result : benchmark.results) {
    Json entry{{"name", result.problem.name()},      {"network", result.problem.network.name},
               {"batch", result.problem.batch},      {"training", result.problem.training},
               {"ours", variants_json(result.ours)}, {"pytorch", variants_json(result.pytorch)}};
    if (const double share = matmul_share(result, benchmark); share > 0) entry["matmul_share"] = share;
    if (result.problem.matmul_share_goal > 0) entry["matmul_share_goal"] = result.problem.matmul_share_goal;
    if (const double share = mark_share(result); share > 0) entry["mark_share"] = share;
    if (result.problem.mark_share_goal > 0) entry["mark_share_goal"] = result.problem.mark_share_goal;
    report["problems"].push_back(entry);
  }
  report["goals"] = goals_text(benchmark, plan);
  return report;
}

std::string step_report_footer(const StepBenchmark& benchmark, const StepBenchmarkOptions& options) {
  const Environment environment = describe_environment();
  const std::string gpu = gpu_description();
  return fmt::format(
      "{}; {} threads each; {}; {}{}, {} cores; {}; commit {}; matrix product {:.0f} "
      "GFLOP/s.",
      options.rounds == 1 ? "One round" : fmt::format("Medians of {} rounds", options.rounds),
      environment.threads,
      benchmark.pytorch_versions.empty() ? fmt::format("without PyTorch ({})", benchmark.pytorch_error)
                                         : benchmark.pytorch_versions,
      gpu.empty() ? "" : gpu + "; ", environment.cpu, environment.cores, environment.date, environment.commit,
      benchmark.matmul_operations_per_second / 1e9);
}

}  // namespace dw
