#include "experiments/profile_report.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/table.h"
#include "experiments/text.h"

namespace dw {
namespace {

constexpr double least_share = 0.001;  // of a step, for a line of its own

// Everything of one kernel, whatever the problem.
struct Kind {
  std::string name;
  double calls = 0, seconds = 0, floor = 0;
};

std::vector<Kind> kinds_in(const ProfileReport& report) {
  std::map<std::string, Kind> by_name;
  for (const KernelRecord& record : report.step.records) {
    Kind& kind = by_name[record.name];
    kind.name = record.name;
    kind.calls += static_cast<double>(record.calls);
    kind.seconds += record.seconds;
    kind.floor += floor_of(record.flops, record.bytes, report.machine).seconds;
  }
  std::vector<Kind> kinds;
  for (const auto& [name, kind] : by_name) kinds.push_back(kind);
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const Kind& a, const Kind& b) { return a.seconds > b.seconds; });
  return kinds;
}

std::string share_text(double part, double whole) {
  return fmt::format("{:.1f}", whole > 0 ? 100 * part / whole : 0);
}

std::string floor_text(double floor, double seconds) {
  return floor > 0 && seconds > 0 ? fmt::format("{:.0f}", 100 * floor / seconds) : "";
}

std::string calls_text(double calls, double steps) {
  return fmt::format("{:.4g}", calls / steps);
}

std::string rate_text(const KernelRecord& record, const MachineRates& machine) {
  if (record.seconds <= 0 || (record.flops <= 0 && record.bytes <= 0)) return "";
  if (floor_of(record.flops, record.bytes, machine).by_flops)
    return fmt::format("{:.1f} GFLOP/s", record.flops / record.seconds / 1e9);
  return fmt::format("{:.1f} GB/s", record.bytes / record.seconds / 1e9);
}

// Of one step; what a GPU does not do has none.
std::string microseconds_text(double seconds, double steps) {
  return seconds > 0 ? fmt::format("{:.1f}", 1e6 * seconds / steps) : "";
}

std::string kinds_table(const ProfileReport& report) {
  const StepTimes& step = report.step;
  const auto steps = static_cast<double>(step.steps);
  Table table({"kernel", "calls", "ms", "share %", "floor ms", "of floor %"});
  for (const Kind& kind : kinds_in(report))
    table.add_row({kind.name, calls_text(kind.calls, steps),
                   fmt::format("{:.3f}", 1e3 * kind.seconds / steps), share_text(kind.seconds, step.seconds),
                   kind.floor > 0 ? fmt::format("{:.3f}", 1e3 * kind.floor / steps) : "",
                   floor_text(kind.floor, kind.seconds)});
  table.add_row({"(outside kernels)", "", fmt::format("{:.3f}", 1e3 * step.outside() / steps),
                 share_text(step.outside(), step.seconds), "", ""});
  return table.text(locale_is_utf8());
}

std::string problems_table(const ProfileReport& report) {
  const StepTimes& step = report.step;
  const auto steps = static_cast<double>(step.steps);
  const bool h200 = std::ranges::any_of(
      report.predictions, [](const Prediction& each) { return each.machine.starts_with("H200"); });
  std::vector<std::string> columns{"kernel", "problem", "calls", "ms", "share %", "rate", "of machine %"};
  if (h200) columns.emplace_back("H200 bf16 µs");
  Table table(columns);
  double rest = 0, rest_on_h200 = 0;
  int left_out = 0;
  for (const KernelRecord& record : step.records) {
    if (record.seconds < least_share * step.seconds) {
      rest += record.seconds;
      rest_on_h200 += h200_bf16_seconds(record);
      ++left_out;
      continue;
    }
    std::vector<std::string> row{
        record.name,
        record.problem,
        calls_text(static_cast<double>(record.calls), steps),
        fmt::format("{:.3f}", 1e3 * record.seconds / steps),
        share_text(record.seconds, step.seconds),
        rate_text(record, report.machine),
        floor_text(floor_of(record.flops, record.bytes, report.machine).seconds, record.seconds)};
    if (h200) row.push_back(microseconds_text(h200_bf16_seconds(record), steps));
    table.add_row(row);
  }
  if (left_out > 0) {
    std::vector<std::string> row{"(rest)",
                                 fmt::format("{} problems below 0.1 %", left_out),
                                 "",
                                 fmt::format("{:.3f}", 1e3 * rest / steps),
                                 share_text(rest, step.seconds),
                                 "",
                                 ""};
    if (h200) row.push_back(microseconds_text(rest_on_h200, steps));
    table.add_row(row);
  }
  return table.text(locale_is_utf8());
}

std::string predictions_table(const ProfileReport& report) {
  Table table({"predicted on", "ms", "arithmetic %", "memory %", "starting %", "serial %", "bound by"});
  for (const Prediction& p : report.predictions) {
    const double whole = p.seconds();
    table.add_row({p.machine, fmt::format("{:.3f}", 1e3 * whole), share_text(p.arithmetic, whole),
                   share_text(p.memory, whole), share_text(p.overhead, whole), share_text(p.serial, whole),
                   p.bound()});
  }
  return table.text(locale_is_utf8());
}

}  // namespace

void add_profile_options(CLI::App& app, ProfileOptions& options) {
  app.add_flag("--profile", options.wanted,
               "At the end, where the time of a step went: each kernel beside this machine's own rates");
  app.add_option("--predict", options.predict,
                 "With --profile: the step on that many cores or on an H200, on paper, e.g. 8,32,64,h200")
      ->delimiter(',')
      ->allow_extra_args(false);
}

void require_profile_options(const ProfileOptions& options) {
  if (!options.predict.empty() && !options.wanted) throw UsageError("--predict needs --profile");
  require_predictable(options.predict);
}

std::unique_ptr<Profile> start_profile(const ProfileOptions& options, const std::string& step) {
  require_profile_options(options);
  return options.wanted ? std::make_unique<Profile>(step) : nullptr;
}

ProfileReport report_of(std::unique_ptr<Profile> profile, const ProfileOptions& options, Device device) {
  ProfileReport report;
  report.step = times_of(*profile);
  profile.reset();
  require(report.step.steps > 0, "--profile: no step besides the two it warms up with");
  report.machine = measure_machine(device);
  report.on_gpu = device != cpu;
  report.predictions = predict(options.predict, report.step, report.machine, thread_count());
  return report;
}

std::string to_text(const ProfileReport& report) {
  const StepTimes& step = report.step;
  std::string text = fmt::format(
      "a step: {:.2f} ms, mean of {}; this machine: matrix product {:.1f} GFLOP/s, triad {:.1f} GB/s, {} "
      "threads\n\n",
      1e3 * step.seconds / static_cast<double>(step.steps), step.steps, report.machine.flops / 1e9,
      report.machine.bytes / 1e9, thread_count());
  if (report.on_gpu)
    text +=
        "Calls are queued one by one: where the GPU waits for the host, the waiting counts as the "
        "call's.\n\n";
  text += kinds_table(report) + "\n" + problems_table(report);
  if (!report.predictions.empty()) text += "\n" + predictions_table(report);
  return text;
}

nlohmann::ordered_json to_json(const ProfileReport& report) {
  const StepTimes& step = report.step;
  const auto steps = static_cast<double>(step.steps);
  nlohmann::ordered_json json = {{"steps", step.steps},
                                 {"milliseconds", 1e3 * step.seconds / steps},
                                 {"outside_milliseconds", 1e3 * step.outside() / steps},
                                 {"threads", thread_count()},
                                 {"matmul_gflops", report.machine.flops / 1e9},
                                 {"triad_gbytes", report.machine.bytes / 1e9}};
  auto& kernels = json["kernels"] = nlohmann::ordered_json::array();
  for (const KernelRecord& record : step.records) {
    const Floor floor = floor_of(record.flops, record.bytes, report.machine);
    kernels.push_back({{"kernel", record.name},
                       {"problem", record.problem},
                       {"calls", static_cast<double>(record.calls) / steps},
                       {"milliseconds", 1e3 * record.seconds / steps},
                       {"floor_milliseconds", 1e3 * floor.seconds / steps},
                       {"h200_bf16_milliseconds", 1e3 * h200_bf16_seconds(record) / steps},
                       {"flops", record.flops / steps},
                       {"bytes", record.bytes / steps}});
  }
  auto& predictions = json["predictions"] = nlohmann::ordered_json::array();
  for (const Prediction& p : report.predictions)
    predictions.push_back({{"machine", p.machine},
                           {"milliseconds", 1e3 * p.seconds()},
                           {"arithmetic_milliseconds", 1e3 * p.arithmetic},
                           {"memory_milliseconds", 1e3 * p.memory},
                           {"starting_milliseconds", 1e3 * p.overhead},
                           {"serial_milliseconds", 1e3 * p.serial},
                           {"bound_by", p.bound()}});
  return json;
}

}  // namespace dw
