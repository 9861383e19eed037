// One step of training, eager or as a graph that is captured once and replayed.
#pragma once

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "core/batches.h"
#include "core/gradient_term.h"
#include "core/mixed_precision.h"
#include "core/module.h"
#include "core/optimizer.h"
#include "core/totals.h"
#include "kernels/graph.h"

namespace dw {

/// The task's loss, a scalar. It only queues work on the device: a captured step calls it once.
using LossFunction = std::function<Tensor(const Batch& batch, const Tensor& logits)>;

/// What a step is made of; all of it outlives the step.
struct StepParts {
  Module& network;
  Optimizer& optimizer;
  BatchSource& batches;
  GradientTerm* term = nullptr;  ///< may be null
  LossFunction loss = {};        ///< empty: cross-entropy with the labels
  uint64_t seed = 1;             ///< of dropout's draws
  bool capture = false;  ///< capture and replay; not where the term cannot be captured, nor under a Profile
  DType activations = DType::f32;  ///< bf16: products and activations in bf16 (core/mixed_precision.h)
};

/// Batch, forward, loss, backward, the term's gradient, the optimizer, and sums of loss and right answers.
/// A captured step has the bits of an eager one. What changes between steps lies in device memory of fixed
/// addresses: learning rate, step number, which batch, sums. A batch of another size than the first, as the
/// last of an epoch may be, runs eagerly.
class TrainingStep {
 public:
  explicit TrainingStep(const StepParts& parts);

  /// Trains on the next batch of the source. `step` names its random draws. Waits for nothing but
  /// what the source copies from the host.
  /// Errors: of the parts; a capture that finds the memory pool short again and again.
  void run(int64_t step, double learning_rate);

  const Totals& totals() const { return totals_; }
  /// Whether steps are replayed by now.
  bool is_captured() const { return graph_.has_value(); }

 private:
  void run_full();
  Batch full_batch() const;
  void hold(const Batch& batch);
  void compute(const Batch& batch);
  void capture();
  void forget_gradients() const;
  void put_gradients_back() const;

  StepParts parts_;
  DeviceBatchSource* device_batches_;  // the source where it is one
  std::vector<NamedTensor> parameters_;
  std::optional<MixedPrecision> mixed_;
  Device device_;
  Totals totals_;
  Tensor step_;                    // i64 [1]
  Batch fixed_;                    // where batches of a plain source are copied to
  int64_t full_ = 0;               // pictures of the first batch
  bool settled_ = false;           // the last full step asked the system for no memory
  int short_of_memory_ = 0;        // captures that found the pool short
  bool gradients_moved_ = false;   // an eager step ran since the capture
  std::vector<Tensor> gradients_;  // what the graph writes, one a parameter
  std::optional<Graph> graph_;
};

}  // namespace dw
