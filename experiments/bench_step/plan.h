// What bench_step measures: the problems, the ways each side is run, and what we want to reach.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/precision.h"
#include "layers/networks.h"

namespace dw {

/// PyTorch's figure over ours is to be at least `ratio`.
struct StepGoal {
  double ratio = 0;
  std::string against = "best";  ///< which of PyTorch's variants; "best": the fastest of all
};

struct StepProblem {
  NetworkSpec network;
  int64_t batch = 0;
  bool training = true;  ///< else inference
  std::vector<StepGoal> goals;
  double matmul_share_goal = 0;  ///< of the machine's matrix product rate, at least; 0: none
  double mark_share_goal = 0;    ///< of a step with the mark, the mark's part, at most; 0: none
  bool taking_turns = true;      ///< else one variant after the other: together they need too much memory

  /// "wrn-10-4 training 64": what --only compares with.
  std::string name() const;
};

struct StepPlan {
  std::vector<StepProblem> problems;
  /// "marked" trains with the mark, on CUDA in bf16; "graph" replays a forward pass that was captured once.
  std::vector<std::string> our_training, our_inference;
  /// The mark's time is what "marked" takes longer than this one; empty: it is timed within the step.
  std::string marked_beside;
  /// "frozen" is compiled with the weights as constants. The first is what starts fastest.
  std::vector<std::string> pytorch_training, pytorch_inference;
  StepGoal first_step{5}, memory{1 / 0.7};  ///< of every training problem
  DType matmul_dtype = DType::f32;          ///< of the matrix product whose rate is the machine's

  const std::vector<std::string>& our_variants(const StepProblem& problem) const {
    return problem.training ? our_training : our_inference;
  }
  const std::vector<std::string>& pytorch_variants(const StepProblem& problem) const {
    return problem.training ? pytorch_training : pytorch_inference;
  }
  /// What one of our variants computes in: what it is named after; the marked one as what it stands beside.
  Precision precision_of(const std::string& variant) const;
};

/// The plan of a device, of the problems whose name contains one of `only` (empty: all). UsageError where
/// none does.
StepPlan step_plan(DeviceType device, const std::vector<std::string>& only);

/// Multiplications of one picture's forward pass, convolutions and matrix products only; 0 where it is not
/// known.
double forward_multiplications(const NetworkSpec& network);

/// Of a matrix product of this machine, operations a second at which `problem` runs when a step takes
/// `milliseconds`: a training step is three forward passes, two operations a multiplication.
double operations_per_second(const StepProblem& problem, double milliseconds);

}  // namespace dw
