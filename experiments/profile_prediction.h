// How long a profiled step would take elsewhere, on paper: with more cores of this kind, or on an H200.
#pragma once

#include <string>
#include <vector>

#include "experiments/machine_rates.h"
#include "kernels/profile.h"

namespace dw {

/// A profile's numbers, for all its steps together.
struct StepTimes {
  int64_t steps = 0;
  double seconds = 0;  ///< of the steps, kernels and everything else
  std::vector<KernelRecord> records;

  double outside() const;  ///< seconds in no kernel
};
StepTimes times_of(const Profile& profile);

struct Prediction {
  std::string machine;  ///< "8 cores", "H200 bf16"
  /// Seconds of one step, by what they wait for.
  double arithmetic = 0, memory = 0, overhead = 0, serial = 0;

  double seconds() const { return arithmetic + memory + overhead + serial; }
  /// The largest of the four: "arithmetic", "memory", "starting work" (threads, launches), "serial work".
  std::string bound() const;
};

/// From `cores` cores like those of `here`, which measured the step with `threads` of them. Kernels bound by
/// arithmetic take time in inverse proportion to cores; those bound by memory to bandwidth, which grows with
/// cores up to that of one socket, 400 GB/s (12 channels of DDR5); each call starts threads once, which costs
/// as much as here for each doubling; what is in no kernel, has no floor or is too short to have started
/// threads takes as long as here.
Prediction predict_cores(const StepTimes& step, const MachineRates& here, int threads, int cores);

/// The floors on an H200 SXM by its data sheet (4.8 TB/s; 67 TFLOP/s in fp32, 494 in tf32, 989 in bf16,
/// dense), where bf16 halves the bytes; 2 µs for each launch within a captured graph, which runs nothing else
/// meanwhile. The work of the host is hidden behind the device's. What real kernels reach is less.
std::vector<Prediction> predict_h200(const StepTimes& step);

/// What predict_h200() has in bf16 for all calls of one kernel and problem: floor and launches; 0 for what
/// the host does.
double h200_bf16_seconds(const KernelRecord& record);

/// "8", "32" (cores) and "h200", each with its predictions. UsageError for anything else.
std::vector<Prediction> predict(const std::vector<std::string>& machines, const StepTimes& step,
                                const MachineRates& here, int threads);
/// UsageError where predict() would throw one.
void require_predictable(const std::vector<std::string>& machines);

}  // namespace dw
