// The main job, end to end: key, marked network and unmarked twin, pruning, verdicts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/table.h"
#include "experiments/workflow.h"
#include "watermark/verifier.h"

namespace dw {

struct DemoPlan {
  std::string data = "synthetic";
  std::filesystem::path out = "out/demo";
  std::string network = "wrn-10-1";
  Recipe recipe = recipes().front();
  double strength = 7;
  std::vector<double> fractions = {0, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99};
  LoadOptions load;
  uint64_t seed = 1;
  Device device;
  int null_keys = 1000;
};

/// One suspect, read with one key.
struct DemoVerdict {
  std::string suspect;   ///< "marked, 65 % pruned"
  std::string claimant;  ///< "owner" or "stranger"
  double pruned = 0;     ///< fraction
  Evaluation evaluation;
  Verdict verdict;
  bool expected_owned = false;
  /// What must hold for the demo to succeed. Models pruned beyond 95 % are shown, not judged.
  bool judged = true;
};

struct DemoResult {
  DemoPlan plan;
  Dataset data;
  Mark mark;
  std::vector<EpochMetrics> marked, unmarked;
  std::vector<DemoVerdict> verdicts;
  double seconds = 0;

  double marked_accuracy() const { return marked.back().test_accuracy; }
  double unmarked_accuracy() const { return unmarked.back().test_accuracy; }
  /// Whether every judged verdict is the expected one.
  bool succeeded() const;
};

/// Runs the main job; files go to plan.out. An owner's key from an earlier run in the same folder is used
/// again, as keys are never overwritten. Error when interrupted.
DemoResult run_demo(const DemoPlan& plan);

/// The verdicts, for the screen.
Table demo_table(const DemoResult& result);

/// One JSON object.
std::string to_json(const DemoResult& result);

/// PLAN.out/report.html.
void write_demo_report(const DemoResult& result, const std::string& command);

}  // namespace dw
