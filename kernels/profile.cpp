// The records of a profile; the table that fills them is in profiled_table.cpp.
#include "kernels/profile.h"

#include <algorithm>
#include <utility>

namespace dw {
namespace {

thread_local Profile* installed = nullptr;
thread_local Profile* recording_now = nullptr;  // null outside of its steps and inside of a timed call

}  // namespace

Profile::Profile(std::string step, int64_t warm_up) : step_(std::move(step)), warm_up_(warm_up) {
  require(installed == nullptr, "this thread is being profiled already");
  installed = this;
}

Profile::~Profile() {
  installed = nullptr;
}

bool Profile::is_active() {
  return installed != nullptr;
}

Profile* Profile::recording() {
  return recording_now;
}

std::vector<KernelRecord> Profile::records() const {
  std::vector<KernelRecord> sorted = records_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const KernelRecord& a, const KernelRecord& b) { return a.seconds > b.seconds; });
  return sorted;
}

size_t Profile::record_of(std::string_view name, const KernelCost& cost) {
  const auto [entry, is_new] = index_.try_emplace({std::string(name), cost.problem}, records_.size());
  if (is_new) records_.push_back({std::string(name), cost.problem});
  KernelRecord& record = records_[entry->second];
  ++record.calls;
  record.flops += cost.flops;
  record.bytes += cost.bytes;
  return entry->second;
}

Profile::Timing& Profile::timing_on(DeviceType type) {
  Timing& timing = timings_[static_cast<size_t>(type)];
  if (!timing.stopwatch) timing.stopwatch = Stopwatch::on(type);
  return timing;
}

void Profile::collect() {
  for (Timing& timing : timings_) {
    if (timing.records.empty()) continue;
    const std::vector<double> laps = timing.stopwatch->laps();
    for (size_t i = 0; i < laps.size(); ++i) records_[timing.records[i]].seconds += laps[i];
    timing.records.clear();
  }
}

ProfiledStep::ProfiledStep(std::string_view name) {
  if (installed == nullptr || recording_now != nullptr || installed->step_ != name) return;
  if (installed->warm_up_ > 0) {
    --installed->warm_up_;
    return;
  }
  profile_ = installed;
  recording_now = installed;
  started_ = std::chrono::steady_clock::now();
}

ProfiledStep::~ProfiledStep() {
  if (profile_ == nullptr) return;
  recording_now = nullptr;
  try {
    profile_->collect();
  } catch (const Error&) {
    // A failed device says so again at its next call, where it can be thrown.
  }
  profile_->seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  ++profile_->steps_;
}

ProfiledCall::ProfiledCall(Profile& profile, Stream stream, std::string_view name, const KernelCost& cost)
    : profile_(profile), timing_(profile.timing_on(stream.device.type)) {
  timing_.records.push_back(profile.record_of(name, cost));
  recording_now = nullptr;
  timing_.stopwatch->start(stream);
}

ProfiledCall::~ProfiledCall() {
  timing_.stopwatch->stop();
  recording_now = &profile_;
}

}  // namespace dw
