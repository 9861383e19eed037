#include "experiments/bench_step/plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace dw {
namespace {

NetworkSpec spec_of(const std::string& name) {
  if (name == "lenet-5") return {.name = name, .channels = 1, .height = 28, .width = 28};
  return {.name = name};
}

std::vector<StepProblem> cpu_problems() {
  struct Entry {
    const char* network;
    int64_t batch;
    double goal;
  };
  std::vector<StepProblem> problems;
  for (const auto& [name, batch, goal] :
       {Entry{"wrn-10-1", 128, 1.5}, Entry{"wrn-10-4", 64, 1.2}, Entry{"wrn-28-2", 64, 1.3},
        Entry{"resnet-18", 64, 1.3}, Entry{"lenet-5", 256, 2}}) {
    const NetworkSpec network = spec_of(name);
    constexpr double goal_of_one_picture = 2;
    const double mark_goal = network.name == "wrn-10-1" ? 0.03 : network.name == "wrn-10-4" ? 0.01 : 0;
    problems.push_back({.network = network, .batch = batch, .goals = {{goal}}, .mark_share_goal = mark_goal});
    problems.push_back({network, 1, false, {{goal_of_one_picture}}});
    problems.push_back({network, 256, false, {{goal}}});
  }
  return problems;
}

std::vector<StepProblem> cuda_problems() {
  std::vector<StepProblem> problems;
  for (const char* const name : {"wrn-10-4", "resnet-18", "wrn-28-10"}) {
    const double share = name == std::string_view("wrn-28-10") ? 0.4 : 0;
    const double mark_goal = name == std::string_view("wrn-10-4") ? 0.01 : 0;
    problems.push_back({.network = spec_of(name),
                        .batch = 64,
                        .goals = {{3, "eager"}, {1.2}},
                        .matmul_share_goal = share,
                        .mark_share_goal = mark_goal});
    problems.push_back({.network = spec_of(name),
                        .batch = 1024,
                        .goals = {{1}},
                        .matmul_share_goal = share,
                        .taking_turns = false});
  }
  return problems;
}

}  // namespace

std::string StepProblem::name() const {
  return fmt::format("{} {} {}", network.name, training ? "training" : "inference", batch);
}

Precision StepPlan::precision_of(const std::string& variant) const {
  return precision_named(variant == "marked" ? marked_beside : variant);
}

StepPlan step_plan(DeviceType device, const std::vector<std::string>& only) {
  StepPlan plan;
  if (device == DeviceType::cpu) {
    plan.problems = cpu_problems();
    plan.our_training = {"fp32", "marked"};
    plan.our_inference = {"fp32", "graph", "frozen"};
    plan.pytorch_training = {"contiguous", "channels-last", "compile"};
    plan.pytorch_inference = {"contiguous", "channels-last", "compile", "frozen"};
  } else {
    plan.problems = cuda_problems();
    plan.our_training = {"tf32", "bf16", "marked"};
    plan.our_inference = {"tf32", "bf16"};
    plan.marked_beside = "bf16";
    plan.pytorch_training = plan.pytorch_inference = {"eager", "bf16", "cuda-graph", "max-autotune"};
    plan.matmul_dtype = DType::bf16;
  }
  if (only.empty()) return plan;
  std::string known;
  for (const StepProblem& problem : plan.problems)
    known += fmt::format("{}\"{}\"", known.empty() ? "" : ", ", problem.name());
  std::erase_if(plan.problems, [&](const StepProblem& problem) {
    return std::ranges::none_of(
        only, [&](const std::string& part) { return problem.name().find(part) != std::string::npos; });
  });
  if (plan.problems.empty())
    throw UsageError(
        fmt::format("--only {}: no problem's name contains it; there are {}", fmt::join(only, " "), known));
  return plan;
}

double forward_multiplications(const NetworkSpec& network) {
  const bool wide = network.name.starts_with("wrn-"), resnet = network.name.starts_with("resnet-");
  if (!wide && !resnet) return 0;
  double sum = 0;
  for (const auto& [name, tensor] : make_network(network)->parameters()) {
    if (tensor.rank() < 2) continue;
    // "block2.layer.0.conv1.weight" and "layer2.0.conv1.weight" belong to the second stage: a quarter of the
    // pixels, as every stage after the first begins with stride 2.
    int halvings = 0;
    for (int stage = 2; stage <= 4; ++stage)
      if (name.starts_with(fmt::format("{}{}.", wide ? "block" : "layer", stage))) halvings = stage - 1;
    const bool convolution = tensor.rank() == 4;
    const double pixels =
        convolution ? static_cast<double>((network.height >> halvings) * (network.width >> halvings)) : 1;
    sum += static_cast<double>(tensor.numel()) * pixels;
  }
  return sum;
}

double operations_per_second(const StepProblem& problem, double milliseconds) {
  const double passes = problem.training ? 3 : 1;
  return 2 * passes * static_cast<double>(problem.batch) * forward_multiplications(problem.network) /
         (milliseconds / 1000);
}

}  // namespace dw
