// Times the mark's gradient against the number of weights, beside the machine's memory and beside PyTorch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/child_process.h"
#include "kernels/device.h"
#include "watermark/claim.h"

namespace dw {

/// Milliseconds are medians over the rounds.
struct GradientTime {
  int64_t weights = 0;
  double milliseconds = 0;
  double memory_milliseconds = 0;   ///< 24 B a weight, what the three passes move, at the rate of memory
  double pytorch_milliseconds = 0;  ///< 0: not measured
  double difference = 0;            ///< of PyTorch's gradient from ours, relative, root of sums of squares
};

struct GradientPlan {
  std::vector<int64_t> weights;  ///< see convolutions_of()
  int rounds = 7;
  double memory_rate = 1;  ///< bytes a second: memory_rate() of machine_rates.h
  Device device;
  std::function<void(const std::string& note)> progress;
};

/// As many weights, or a few more, in convolutions of up to 512 x 512 x 3 x 3.
std::vector<MarkedLayer> convolutions_of(int64_t weights);

/// `pytorch` answers the requests of experiments/bench_mark/pytorch_side.py; null: not measured.
std::vector<GradientTime> measure_gradients(const GradientPlan& plan, ChildProcess* pytorch);

/// The PyTorch side on that device, greeted. UsageError where `python` has no PyTorch.
std::unique_ptr<ChildProcess> start_pytorch_mark(const std::string& python, Device device,
                                                 std::string& version);

/// Median time of `repetitions` calls, in milliseconds.
double median_milliseconds(int repetitions, const std::function<void()>& call);

}  // namespace dw
