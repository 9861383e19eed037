#include "experiments/profile_prediction.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace dw {
namespace {

constexpr double socket_bytes = 400e9;  // a second
constexpr double h200_bytes = 4.8e12;
constexpr double h200_launch = 2e-6;

struct H200Mode {
  const char* name;
  double flops, element;  // a second; bytes against f32
};
constexpr std::array<H200Mode, 3> h200_modes{
    {{"fp32", 67e12, 1}, {"tf32", 494e12, 1}, {"bf16", 989e12, 0.5}}};

Floor floor_on_h200(const KernelRecord& record, const H200Mode& mode) {
  return floor_of(record.flops, record.bytes * mode.element, {mode.flops, h200_bytes});
}

// 0 for what is not a number of cores.
int cores_in(const std::string& text) {
  int cores = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cores);
  return error == std::errc() && end == text.data() + text.size() && cores > 0 && cores <= 4096 ? cores : 0;
}

bool has_floor(const KernelRecord& record) {
  return record.flops > 0 || record.bytes > 0;
}

// The host's own copies, allocations and waiting do not happen on the device.
bool runs_on_device(const KernelRecord& record) {
  return has_floor(record) && !record.name.starts_with("copy_");
}

}  // namespace

double StepTimes::outside() const {
  double inside = 0;
  for (const KernelRecord& record : records) inside += record.seconds;
  return std::max(0.0, seconds - inside);
}

StepTimes times_of(const Profile& profile) {
  return {profile.steps(), profile.seconds(), profile.records()};
}

std::string Prediction::bound() const {
  const std::array<std::pair<double, const char*>, 4> parts{
      {{arithmetic, "arithmetic"}, {memory, "memory"}, {overhead, "starting work"}, {serial, "serial work"}}};
  return std::max_element(parts.begin(), parts.end(),
                          [](const auto& a, const auto& b) { return a.first < b.first; })
      ->second;
}

Prediction predict_cores(const StepTimes& step, const MachineRates& here, int threads, int cores) {
  Prediction result{fmt::format("{} core{}", cores, cores == 1 ? "" : "s")};
  const double share = static_cast<double>(threads) / cores;
  const double bandwidth = std::min(here.bytes / share, std::max(socket_bytes, here.bytes));
  const double doublings = std::log2(static_cast<double>(cores)) / std::max(1.0, std::log2(threads));
  result.serial = step.outside();
  for (const KernelRecord& record : step.records) {
    const double forks = static_cast<double>(record.calls) * here.fork_seconds;
    // Too short to have started threads, or nothing that threads could share.
    if (!has_floor(record) || record.seconds <= forks) {
      result.serial += record.seconds;
      continue;
    }
    const double work = record.seconds - forks;
    result.overhead += forks * doublings;
    if (floor_of(record.flops, record.bytes, here).by_flops)
      result.arithmetic += work * share;
    else
      result.memory += work * here.bytes / bandwidth;
  }
  const auto steps = static_cast<double>(std::max<int64_t>(1, step.steps));
  for (double* part : {&result.arithmetic, &result.memory, &result.overhead, &result.serial}) *part /= steps;
  return result;
}

double h200_bf16_seconds(const KernelRecord& record) {
  if (!runs_on_device(record)) return 0;
  const H200Mode& bf16 = h200_modes.back();
  return floor_on_h200(record, bf16).seconds + static_cast<double>(record.calls) * h200_launch;
}

std::vector<Prediction> predict_h200(const StepTimes& step) {
  std::vector<Prediction> results;
  for (const H200Mode& mode : h200_modes) {
    Prediction result{fmt::format("H200 {}", mode.name)};
    const auto steps = static_cast<double>(std::max<int64_t>(1, step.steps));
    for (const KernelRecord& record : step.records) {
      if (!runs_on_device(record)) continue;
      const Floor floor = floor_on_h200(record, mode);
      (floor.by_flops ? result.arithmetic : result.memory) += floor.seconds / steps;
      result.overhead += static_cast<double>(record.calls) * h200_launch / steps;
    }
    results.push_back(result);
  }
  return results;
}

void require_predictable(const std::vector<std::string>& machines) {
  for (const std::string& machine : machines)
    if (machine != "h200" && cores_in(machine) == 0)
      throw UsageError(fmt::format("--predict expects numbers of cores or h200, found \"{}\"", machine));
}

std::vector<Prediction> predict(const std::vector<std::string>& machines, const StepTimes& step,
                                const MachineRates& here, int threads) {
  require_predictable(machines);
  std::vector<Prediction> results;
  for (const std::string& machine : machines) {
    if (machine == "h200") {
      for (const Prediction& prediction : predict_h200(step)) results.push_back(prediction);
    } else {
      results.push_back(predict_cores(step, here, threads, cores_in(machine)));
    }
  }
  return results;
}

}  // namespace dw
