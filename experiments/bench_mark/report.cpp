#include "experiments/bench_mark/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/command_line.h"
#include "experiments/plot.h"
#include "experiments/text.h"

namespace dw {
namespace {

using nlohmann::ordered_json;

std::string count(int64_t number) {
  return format_count(static_cast<uint64_t>(number));
}

double nanoseconds_each(const GradientTime& time) {
  return 1e6 * time.milliseconds / static_cast<double>(time.weights);
}

const VerificationTime& largest_of(const std::vector<VerificationTime>& times) {
  return times.front();
}

// Of PyTorch's time to ours, over the sizes.
std::pair<double, double> pytorch_ratios(const std::vector<GradientTime>& compared) {
  const auto ratio = [](const GradientTime& time) { return time.pytorch_milliseconds / time.milliseconds; };
  std::vector<double> ratios;
  std::ranges::transform(compared, std::back_inserter(ratios), ratio);
  const auto [least, most] = std::ranges::minmax(ratios);
  return {least, most};
}

Series series_of(const std::string& name, const std::vector<GradientTime>& times,
                 double GradientTime::*milliseconds) {
  Series series{.name = name, .x = {}, .y = {}, .markers = true};
  for (const GradientTime& time : times) {
    series.x.push_back(static_cast<double>(time.weights));
    series.y.push_back(time.*milliseconds);
  }
  return series;
}

std::string gradient_plot(const MarkBenchmark& benchmark) {
  Chart chart;
  chart.figure = {"The mark's gradient", "Time of the mark's whole gradient against the number of weights"};
  chart.x = {.label = "marked weights", .logarithmic = true};
  chart.y = {.label = "milliseconds", .logarithmic = true};
  chart.series = {series_of("this program", benchmark.gradients, &GradientTime::milliseconds),
                  series_of("24 B a weight at the rate of memory", benchmark.gradients,
                            &GradientTime::memory_milliseconds)};
  chart.series[1].dashed = true;
  chart.series[1].markers = false;
  if (!benchmark.compared.empty())
    chart.series.push_back(series_of("PyTorch", benchmark.compared, &GradientTime::pytorch_milliseconds));
  return plot(chart);
}

// Seconds against `value` of those times that share the largest one's other number.
template <typename Value, typename Fixed>
std::string verification_plot(const std::vector<VerificationTime>& times, const std::string& label,
                              const std::string& title, const Value& value, const Fixed& fixed) {
  std::vector<std::pair<double, double>> points{{0, 0}};
  for (const VerificationTime& time : times)
    if (time.*fixed == largest_of(times).*fixed)
      points.emplace_back(static_cast<double>(time.*value), time.seconds);
  std::ranges::sort(points);
  Series series{.name = "verification", .x = {}, .y = {}, .markers = true};
  for (const auto& [x, y] : points) {
    series.x.push_back(x);
    series.y.push_back(y);
  }
  Chart chart;
  chart.figure = {title, "Time of verification against " + label};
  chart.x = {.label = label, .lowest = 0};
  chart.y = {.label = "seconds", .lowest = 0};
  chart.series = {series};
  return plot(chart);
}

}  // namespace

std::vector<MarkGoal> goals_of(const MarkBenchmark& benchmark) {
  std::vector<MarkGoal> goals;
  const std::vector<GradientTime>& times = benchmark.gradients;
  // From where no cache holds the weights.
  const auto large =
      std::ranges::find_if(times, [](const GradientTime& t) { return t.weights >= 10'000'000; });
  if (large == times.end() || large + 1 == times.end()) {
    goals.push_back({"gradient O(n)", "time a weight within 25 % from 10 million weights on", "-", false});
  } else {
    const auto [least, most] =
        std::ranges::minmax(std::ranges::subrange(large, times.end()), {}, nanoseconds_each);
    goals.push_back({"gradient O(n)", "time a weight within 25 % from 10 million weights on",
                     fmt::format("{:.2f} to {:.2f} ns", nanoseconds_each(least), nanoseconds_each(most)),
                     true, nanoseconds_each(most) <= 1.25 * nanoseconds_each(least)});
  }
  if (benchmark.compared.empty()) {
    goals.push_back({"beside PyTorch", "at least 10 times as fast", "-", false});
    goals.push_back({"the same gradient as PyTorch's", "to 1e-4", "-", false});
  } else {
    const auto [least, most] = pytorch_ratios(benchmark.compared);
    goals.push_back({"beside PyTorch", "at least 10 times as fast",
                     fmt::format("{:.1f} to {:.1f} times", least, most), true, least >= 10});
    const double difference = std::ranges::max(benchmark.compared, {}, &GradientTime::difference).difference;
    goals.push_back({"the same gradient as PyTorch's", "to 1e-4", fmt::format("{:.1e}", difference), true,
                     difference <= 1e-4});
  }
  const VerificationTime& largest = largest_of(benchmark.verifications);
  const bool paper_size = largest.weights >= 25'000'000 && largest.keys >= 1000;
  goals.push_back({"verification, 25 million weights, 1,000 null keys", "under 40 s",
                   fmt::format("{:.1f} s", largest.seconds), paper_size, largest.seconds < 40});
  const auto [least, most] =
      std::ranges::minmax(benchmark.verifications, {}, &VerificationTime::nanoseconds_each);
  goals.push_back({"verification linear", "time a weight and key within 50 %",
                   fmt::format("{:.2f} to {:.2f} ns", least.nanoseconds_each(), most.nanoseconds_each()),
                   paper_size, most.nanoseconds_each() <= 1.5 * least.nanoseconds_each()});
  return goals;
}

Table gradient_table(const MarkBenchmark& benchmark) {
  Table table({"weights", "gradient ms", "ns a weight", "memory ms", "share of memory's rate", "PyTorch ms",
               "PyTorch / ours", "difference"});
  for (const GradientTime& time : benchmark.gradients) {
    const auto other = std::ranges::find(benchmark.compared, time.weights, &GradientTime::weights);
    const bool both = other != benchmark.compared.end();
    table.add_row({count(time.weights), fmt::format("{:.3f}", time.milliseconds),
                   fmt::format("{:.2f}", nanoseconds_each(time)),
                   fmt::format("{:.3f}", time.memory_milliseconds),
                   fmt::format("{:.0f} %", 100 * time.memory_milliseconds / time.milliseconds),
                   both ? fmt::format("{:.1f}", other->pytorch_milliseconds) : "-",
                   both ? fmt::format("{:.1f}", other->pytorch_milliseconds / other->milliseconds) : "-",
                   both ? fmt::format("{:.1e}", other->difference) : "-"});
  }
  return table;
}

Table verification_table(const MarkBenchmark& benchmark) {
  Table table({"weights", "null keys", "seconds", "ns a weight and key", "memory MB"});
  for (const VerificationTime& time : benchmark.verifications)
    table.add_row({count(time.weights), count(time.keys), fmt::format("{:.2f}", time.seconds),
                   fmt::format("{:.2f}", time.nanoseconds_each()), fmt::format("{:.0f}", time.megabytes)});
  return table;
}

Table goal_table(const std::vector<MarkGoal>& goals) {
  Table table({"", "goal", "found", "met"});
  for (const MarkGoal& goal : goals)
    table.add_row({goal.what, goal.goal, goal.found,
                   !goal.applies ? "not measured"
                   : goal.met    ? "yes"
                                 : "NO"});
  return table;
}

ordered_json json_of(const MarkBenchmark& benchmark) {
  ordered_json gradients = ordered_json::array(), verifications = ordered_json::array(),
               goals = ordered_json::array(), compared = ordered_json::array(), machine;
  for (const GradientTime& time : benchmark.gradients)
    gradients.push_back({{"weights", time.weights},
                         {"milliseconds", time.milliseconds},
                         {"memory_milliseconds", time.memory_milliseconds}});
  for (const GradientTime& time : benchmark.compared)
    compared.push_back({{"weights", time.weights},
                        {"milliseconds", time.milliseconds},
                        {"pytorch_milliseconds", time.pytorch_milliseconds},
                        {"difference", time.difference}});
  for (const VerificationTime& time : benchmark.verifications)
    verifications.push_back({{"weights", time.weights},
                             {"null_keys", time.keys},
                             {"seconds", time.seconds},
                             {"megabytes", time.megabytes}});
  for (const MarkGoal& goal : goals_of(benchmark))
    goals.push_back({{"what", goal.what},
                     {"goal", goal.goal},
                     {"found", goal.found},
                     {"met", goal.applies ? ordered_json(goal.met) : ordered_json(nullptr)}});
  for (const auto& [name, value] : environment_rows(describe_environment())) machine[name] = value;
  return {{"gradients", gradients},
          {"compared", compared},
          {"verifications", verifications},
          {"memory_bytes_per_second", benchmark.memory_rate},
          {"pytorch", benchmark.pytorch_version},
          {"goals", goals},
          {"environment", machine}};
}

HtmlReport report_of(const MarkBenchmark& benchmark) {
  HtmlReport report("The mark's speed");
  report.lead("What the mark costs while a network trains, and what it costs to prove it afterwards.");
  report.section("Goals");
  report.table(goal_table(goals_of(benchmark)));
  report.section("Gradient");
  report.paragraph(
      "The mark's whole gradient over all layers. The dashed line is what the three passes move, 24 bytes a "
      "weight, at the rate at which memory moves arrays larger than any cache; below it weights come from "
      "caches.");
  report.plot(gradient_plot(benchmark));
  report.table(gradient_table(benchmark));
  if (!benchmark.compared.empty())
    report.paragraph(
        "PyTorch computes the same loss by soft histograms and autograd. Both without the drift of "
        "the magnitudes, which autograd has no part in; `difference` is that of the two gradients, "
        "relative.");
  report.section("Verification");
  report.paragraph(
      "The whole of `deepwater verify`: digest, owner's reading, every layer alone, and null keys.");
  report.plot(verification_plot(benchmark.verifications, "marked weights", "Verification, by weights",
                                &VerificationTime::weights, &VerificationTime::keys));
  report.plot(verification_plot(benchmark.verifications, "null keys", "Verification, by keys",
                                &VerificationTime::keys, &VerificationTime::weights));
  report.table(verification_table(benchmark));
  std::vector<std::pair<std::string, std::string>> facts = environment_rows(describe_environment());
  facts.insert(facts.begin(), {"command", benchmark.command});
  if (!benchmark.pytorch_version.empty()) facts.emplace_back("PyTorch", benchmark.pytorch_version);
  facts.emplace_back("rate of memory", fmt::format("{:.1f} GB/s", benchmark.memory_rate / 1e9));
  report.facts("How this was measured", facts);
  return report;
}

}  // namespace dw
