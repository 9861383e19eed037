// Building and running convolution plans with cuDNN's graph API.
#include "kernels/cuda/conv_plan.h"

#include <array>
#include <functional>

#include "kernels/cuda/check.h"

namespace dw::cuda_backend {
namespace {

// Unique ids of the three tensors in operation graph and variant pack.
constexpr int64_t in_id = 1, weight_id = 2, out_id = 3;

cudnnDataType_t cudnn_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDNN_DATA_FLOAT;
    case DType::f64:
      return CUDNN_DATA_DOUBLE;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    default:
      break;
  }
  fail("convolution on CUDA expects f32, f64 or bf16, found {}", name_of(dtype));
}

/// Dense channels-last memory seen as logical [outer, channels, height, width]. cuDNN reads the number of
/// groups off the channels of filters and activations.
Descriptor channels_last(int64_t id, int64_t outer, int64_t channels, int64_t height, int64_t width,
                         const ConvPlanKey& key) {
  const std::array<int64_t, 4> shape{outer, channels, height, width};
  const std::array<int64_t, 4> strides{channels * height * width, 1, channels * width, channels};
  return tensor_descriptor(id, cudnn_type(key.shape.dtype), shape, strides, key.alignment);
}

Descriptor convolution_descriptor(const ConvShape& shape) {
  Descriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const auto pair = [&](cudnnBackendAttributeName_t name, int64_t value) {
    const std::array<int64_t, 2> both{value, value};
    convolution.set(name, std::span<const int64_t>(both));
  };
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE,
                  shape.dtype == DType::f64 ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT);
  convolution.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
  convolution.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2});
  pair(CUDNN_ATTR_CONVOLUTION_DILATIONS, shape.dilation);
  pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, shape.stride);
  pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, shape.padding);
  pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, shape.padding);
  convolution.finalize();
  return convolution;
}

/// How each pass calls its parts.
struct PassAttributes {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t convolution, in, weight, out, alpha, beta;
};

PassAttributes attributes_of(ConvPass pass) {
  switch (pass) {
    case ConvPass::forward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case ConvPass::backward_data:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case ConvPass::backward_weight:
      break;
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

/// The graph of one operation. It keeps what it refers to, so the parts may go when it is finalized.
Descriptor operation_graph(const ConvPlanKey& key, const PlanTarget& target) {
  const ConvShape& s = key.shape;
  const Descriptor in = channels_last(in_id, s.batch, s.in_channels, s.in_height, s.in_width, key);
  const Descriptor weight = channels_last(weight_id, s.out_channels, s.in_channels / s.groups,
                                          s.kernel_height, s.kernel_width, key);
  const Descriptor out = channels_last(out_id, s.batch, s.out_channels, s.out_height(), s.out_width(), key);
  const Descriptor convolution = convolution_descriptor(s);

  const PassAttributes names = attributes_of(key.pass);
  Descriptor operation(names.type);
  operation.set(names.convolution, convolution);
  operation.set(names.in, in);
  operation.set(names.weight, weight);
  operation.set(names.out, out);
  if (s.dtype == DType::f64) {
    operation.set(names.alpha, 1.0);
    operation.set(names.beta, 0.0);
  } else {
    operation.set(names.alpha, 1.0F);
    operation.set(names.beta, 0.0F);
  }
  operation.finalize();

  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (target.handle) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, target.handle);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  graph.finalize();
  return graph;
}

/// cuDNN's proposals, best first; empty where it has none.
std::vector<Descriptor> proposals(const Descriptor& graph, cudnnBackendHeurMode_t mode,
                                  const PlanTarget& target) {
  constexpr int64_t most = 64;
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  if (target.device_properties) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.device_properties);
  if (!heuristics.try_finalize()) return {};
  return heuristics.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, most);
}

EngineNotes notes_of(const Descriptor& engine) {
  EngineNotes notes;
  for (const auto note : engine.get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                                 CUDNN_NUMERICAL_NOTE_TYPE_COUNT)) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
        notes.tensor_core = true;
        break;
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        notes.down_convert_inputs = true;
        break;
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        notes.reduced_precision_reduction = true;
        break;
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
        notes.nondeterministic = true;
        break;
      case CUDNN_NUMERICAL_NOTE_FFT:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
        notes.transformed = true;
        break;
      default:
        break;
    }
  }
  return notes;
}

}  // namespace

std::string_view name_of(ConvPass pass) {
  switch (pass) {
    case ConvPass::forward:
      return "forward";
    case ConvPass::backward_data:
      return "backward data";
    case ConvPass::backward_weight:
      break;
  }
  return "backward weight";
}

size_t ConvPlanKeyHash::operator()(const ConvPlanKey& key) const {
  const ConvShape& s = key.shape;
  size_t hash = 0;
  for (const int64_t value :
       {s.batch, s.in_channels, s.in_height, s.in_width, s.out_channels, s.kernel_height, s.kernel_width,
        s.stride, s.padding, s.dilation, s.groups, static_cast<int64_t>(s.dtype),
        static_cast<int64_t>(key.pass), static_cast<int64_t>(key.precision), key.alignment})
    hash = (hash ^ static_cast<size_t>(value)) * 0x9E3779B97F4A7C15ULL + (hash >> 29);
  return hash;
}

bool is_allowed(const EngineNotes& notes, const ConvPlanKey& key) {
  if (notes.nondeterministic || notes.reduced_precision_reduction || notes.down_convert_inputs ||
      notes.transformed)
    return false;
  const bool strict = key.shape.dtype == DType::f32 && key.precision == Precision::fp32;
  return !(strict && notes.tensor_core);
}

ConvPlan::ConvPlan(const ConvPlanKey& key, const PlanTarget& target) {
  const Descriptor graph = operation_graph(key, target);
  int refused = 0, failed = 0;
  std::string reason;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const Descriptor& config : proposals(graph, mode, target)) {
      const auto engines =
          config.get_descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
      notes_ = notes_of(engines.at(0));
      if (!is_allowed(notes_, key)) {
        ++refused;
        continue;
      }
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      if (target.handle) plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, target.handle);
      if (target.device_properties) plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.device_properties);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
      // An engine that cannot be built here, for whatever reason, says nothing about the next one.
      if (!plan.try_finalize()) {
        reason = last_cudnn_error();
        ++failed;
        continue;
      }
      workspace_bytes_ =
          static_cast<size_t>(plan.get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 1).at(0));
      engine_ = engines.at(0).get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1).at(0);
      plan_ = std::move(plan);
      return;
    }
  }
  const ConvShape& s = key.shape;
  fail(
      "cuDNN has no engine for convolution {} of {} [{}, {}, {}, {}] with {} {}x{} filters, stride {}, "
      "padding {}, dilation {}, groups {} ({} proposals were nondeterministic or less precise than asked, {} "
      "could not be built{}{})",
      name_of(key.pass), dw::name_of(s.dtype), s.batch, s.in_channels, s.in_height, s.in_width,
      s.out_channels, s.kernel_height, s.kernel_width, s.stride, s.padding, s.dilation, s.groups, refused,
      failed, reason.empty() ? "" : ": ", reason);
}

void ConvPlan::execute(cudnnHandle_t handle, void* in, void* weight, void* out, void* workspace) const {
  constexpr std::array<int64_t, 3> ids{in_id, weight_id, out_id};
  const std::array<void*, 3> pointers{in, weight, out};
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const int64_t>(ids));
  pack.set_pointers(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, pointers);
  pack.set_pointers(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, {&workspace, 1});
  pack.finalize();
  check_cudnn(cudnnBackendExecute(handle, plan_.get(), pack.get()), "cudnnBackendExecute");
}

}  // namespace dw::cuda_backend
