// Where the time goes: the kernel calls of a training or evaluation step, with their time and their floor.
//
// While a Profile lives, its thread's kernels(device) hands out, inside a ProfiledStep of that name, a table
// whose pointers time their calls. Without one nothing is timed and nothing costs. What a kernel calls in
// turn counts as that kernel's; calls of other threads, which run beside the step, are not recorded. On CUDA
// a profiled step has to be queued call by call: inside a captured graph there is nothing to time.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/kernel_cost.h"
#include "kernels/stopwatch.h"
#include "kernels/table.h"

namespace dw {

/// What the trainer and evaluation call their steps.
inline constexpr const char* training_step = "training";
inline constexpr const char* evaluation_step = "evaluation";

/// All calls of one kernel with one problem.
struct KernelRecord {
  std::string name;     ///< of its pointer in the table, e.g. "conv_forward"
  std::string problem;  ///< e.g. "64×16×32×32 → 16, 3×3"
  int64_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0;  ///< of all calls together; flops and bytes are floors
};

/// Steps that are not recorded: the first ones fill caches and build plans.
inline constexpr int profile_warm_up = 2;

class Profile {
 public:
  /// Records this thread's steps named `step` but the first `warm_up` ones. One profile at a time in a
  /// thread.
  explicit Profile(std::string step, int64_t warm_up = profile_warm_up);
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  ~Profile();

  /// Steps recorded, without the warm-up.
  int64_t steps() const { return steps_; }
  /// Time from begin to end of the recorded steps, kernels and everything else.
  double seconds() const { return seconds_; }
  /// Those that took longest first.
  std::vector<KernelRecord> records() const;

  /// True where this thread lives under a profile, recording or not: work that would hide its kernels, such
  /// as a captured graph, is then done call by call.
  static bool is_active();
  /// The profile that a call made now is to be recorded in; null where none is.
  static Profile* recording();

 private:
  friend class ProfiledStep;
  friend class ProfiledCall;

  size_t record_of(std::string_view name, const KernelCost& cost);
  void collect();

  struct Timing {
    std::unique_ptr<Stopwatch> stopwatch;
    std::vector<size_t> records;  // of the stretches the stopwatch has not told yet
  };
  Timing& timing_on(DeviceType type);

  std::string step_;
  int64_t warm_up_;
  int64_t steps_ = 0;
  double seconds_ = 0;
  std::map<std::pair<std::string, std::string>, size_t> index_;
  std::vector<KernelRecord> records_;
  std::array<Timing, 2> timings_;  // by DeviceType
};

/// One step, from here to the end of the scope: recorded where this thread has a profile of this name.
class ProfiledStep {
 public:
  explicit ProfiledStep(std::string_view name);
  ProfiledStep(const ProfiledStep&) = delete;
  ProfiledStep& operator=(const ProfiledStep&) = delete;
  ~ProfiledStep();

 private:
  Profile* profile_ = nullptr;
  std::chrono::steady_clock::time_point started_;
};

/// One call that is being timed; see profiled().
class ProfiledCall {
 public:
  ProfiledCall(Profile& profile, Stream stream, std::string_view name, const KernelCost& cost);
  ProfiledCall(const ProfiledCall&) = delete;
  ProfiledCall& operator=(const ProfiledCall&) = delete;
  ~ProfiledCall();

 private:
  Profile& profile_;
  Profile::Timing& timing_;
};

/// Does `work`, recorded as one call of `name` where a step is being profiled; only then `cost` is asked for
/// its KernelCost. For what is queued on a device but does not stand in the kernel table, and, with Stream{},
/// for what the host waits for.
template <typename CostOf, typename Work>
decltype(auto) profiled(Stream stream, std::string_view name, const CostOf& cost, const Work& work) {
  Profile* const profile = Profile::recording();
  if (profile == nullptr) return work();
  const ProfiledCall call(*profile, stream, name, cost());
  return work();
}

}  // namespace dw
