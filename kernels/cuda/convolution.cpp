// Convolutions on CUDA: cached cuDNN plans. Floor of each pass: 2 · batch · out_height · out_width ·
// out_channels · kernel_height · kernel_width · in_channels / groups flops, and the bytes of its three
// tensors once each.
#include <algorithm>
#include <bit>
#include <map>
#include <unordered_map>

#include "kernels/conv_max_pool.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/conv_plan.h"
#include "kernels/cuda/libraries.h"
#include "kernels/precision.h"
#include "kernels/profiled_table.h"

namespace dw::cuda_backend {
namespace {

/// Bytes, up to 16, that all three addresses are multiples of.
int64_t common_alignment(const void* in, const void* weight, const void* out) {
  const auto bits = std::bit_cast<uintptr_t>(in) | std::bit_cast<uintptr_t>(weight) |
                    std::bit_cast<uintptr_t>(out) | uintptr_t{16};
  return int64_t{1} << std::countr_zero(bits);
}

/// Plans belong to a thread, as cuDNN does not promise that every engine's plan may run in several.
const ConvPlan& cached_plan(cudnnHandle_t handle, int device, const ConvPlanKey& key) {
  static thread_local std::map<int, std::unordered_map<ConvPlanKey, ConvPlan, ConvPlanKeyHash>> plans;
  auto& own = plans[device];
  const auto found = own.find(key);
  if (found != own.end()) return found->second;
  return own.emplace(key, ConvPlan(key, {handle, nullptr})).first->second;
}

void run(Stream stream, ConvPass pass, const ConvShape& shape, const void* in, const void* weight,
         const void* out) {
  const bool f32 = shape.dtype == DType::f32;
  const ConvPlanKey key{shape, pass, f32 && rounds_to_tf32() ? Precision::tf32 : Precision::fp32,
                        common_alignment(in, weight, out)};
  const cudnnHandle_t handle = cudnn_handle(stream);
  const ConvPlan& plan = cached_plan(handle, stream.device.index, key);
  const Buffer workspace(stream.device, plan.workspace_bytes());
  plan.execute(handle, const_cast<void*>(in), const_cast<void*>(weight), const_cast<void*>(out),
               workspace.data());
}

void conv_forward(Stream stream, const ConvShape& shape, const void* in, const void* weight, void* out) {
  if (shape.batch > 0) run(stream, ConvPass::forward, shape, in, weight, out);
}

void conv_backward_data(Stream stream, const ConvShape& shape, const void* out_gradient, const void* weight,
                        void* in_gradient) {
  if (shape.batch > 0) run(stream, ConvPass::backward_data, shape, in_gradient, weight, out_gradient);
}

void conv_backward_weight(Stream stream, const ConvShape& shape, const void* in, const void* out_gradient,
                          void* weight_gradient) {
  if (shape.batch > 0) {
    run(stream, ConvPass::backward_weight, shape, in, weight_gradient, out_gradient);
    return;
  }
  const auto elements = static_cast<size_t>(shape.out_channels * shape.kernel_height * shape.kernel_width *
                                            (shape.in_channels / shape.groups));
  check_cuda(cudaMemsetAsync(weight_gradient, 0, elements * size_of(shape.dtype),
                             static_cast<cudaStream_t>(stream.handle)),
             "cudaMemsetAsync");
}

void conv_max_pool(Stream stream, const ConvShape& shape, const PoolShape& pooling, const void* in,
                   const void* weight, const void* bias, bool relu, void* out) {
  conv_then_max_pool(plain_kernels(stream.device), stream, shape, pooling, in, weight, bias, relu, out,
                     std::max<int64_t>(1, shape.batch));
}

}  // namespace

void add_convolution(KernelTable& table) {
  table.conv_forward = conv_forward;
  table.conv_backward_data = conv_backward_data;
  table.conv_backward_weight = conv_backward_weight;
  table.conv_max_pool = conv_max_pool;
}

}  // namespace dw::cuda_backend
