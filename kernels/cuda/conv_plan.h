// Execution plans of convolutions: cuDNN's description of the problem, the choice of an engine under our
// rules of precision and determinism, and its execution.
#pragma once

#include "kernels/cuda/cudnn_graph.h"
#include "kernels/precision.h"
#include "kernels/table.h"

namespace dw::cuda_backend {

enum class ConvPass : uint8_t { forward, backward_data, backward_weight };

/// "forward", "backward data", "backward weight".
std::string_view name_of(ConvPass pass);

/// What distinguishes plans. `alignment` in bytes of all three tensors.
struct ConvPlanKey {
  ConvShape shape;
  ConvPass pass = ConvPass::forward;
  Precision precision = Precision::fp32;
  int64_t alignment = 16;
  bool operator==(const ConvPlanKey&) const = default;
};

struct ConvPlanKeyHash {
  size_t operator()(const ConvPlanKey& key) const;
};

/// What cuDNN says of the arithmetic of an engine.
struct EngineNotes {
  bool tensor_core = false;
  bool down_convert_inputs = false;          ///< rounds f32 operands to 16 bits
  bool reduced_precision_reduction = false;  ///< sums in less than f32
  bool nondeterministic = false;
  bool transformed = false;  ///< FFT or Winograd: other rounding than a sum of products
};

/// The rules: always deterministic, always sums in full precision, operands never rounded below TF32 and
/// never transformed; f32 data on tensor cores only where the key's precision is tf32.
bool is_allowed(const EngineNotes& notes, const ConvPlanKey& key);

/// The GPU that a plan is for: one of this machine, by its cuDNN handle, or one that is only described.
struct PlanTarget {
  cudnnHandle_t handle = nullptr;
  const Descriptor* device_properties = nullptr;
};

/// A finalized plan: the first engine that cuDNN's heuristics propose and the rules allow. Building takes
/// milliseconds, so keep it. Errors: Error naming the problem where no engine is left.
class ConvPlan {
 public:
  ConvPlan(const ConvPlanKey& key, const PlanTarget& target);

  size_t workspace_bytes() const { return workspace_bytes_; }
  const EngineNotes& notes() const { return notes_; }
  int64_t engine() const { return engine_; }  ///< cuDNN's global index

  /// Queues the convolution on the handle's stream. `in` and `out` are activations, `weight` the filters, or
  /// their gradients: the pass decides which of the three is written. `workspace` holds workspace_bytes().
  void execute(cudnnHandle_t handle, void* in, void* weight, void* out, void* workspace) const;

 private:
  Descriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  EngineNotes notes_;
  size_t workspace_bytes_ = 0;
  int64_t engine_ = -1;
};

}  // namespace dw::cuda_backend
