// What a kernel call is about and the least it can cost: the floor that docs/performance.md compares with.
//
// Bytes: every tensor read once and written once, whatever a kernel makes of it; small per-channel vectors
// are left out. Flops: those of the definition (a multiplication and an addition are two) for convolution and
// matrix product; elsewhere one an element, as memory binds there.
#pragma once

#include <span>
#include <string>

#include "kernels/table.h"

namespace dw {

struct KernelCost {
  std::string problem;  ///< e.g. "64×16×32×32 → 32, 3×3"
  double flops = 0, bytes = 0;
};

// What one argument adds to a call's cost. That suffices for most kernels: a convolution costs the same
// forward and backward, and an elementwise operation what its views hold.
void add_argument(KernelCost& cost, const View& view);
void add_argument(KernelCost& cost, const ConvShape& shape);
void add_argument(KernelCost& cost, const MatmulShape& shape);
void add_argument(KernelCost& cost, const PoolShape& shape);  ///< input and output
void add_argument(KernelCost& cost, std::span<const OptimizerTensor> tensors);
void add_argument(KernelCost& cost, std::span<const ConvertedTensor> tensors);
void add_argument(KernelCost& cost, size_t copied_bytes);
void add_argument(KernelCost& cost, UnaryOp op);
void add_argument(KernelCost& cost, BinaryOp op);
void add_argument(KernelCost& cost, ReduceOp op);
template <typename Other>
void add_argument(KernelCost&, const Other&) {}

template <typename... Arguments>
KernelCost cost_of_arguments(const Arguments&... arguments) {
  KernelCost cost;
  (add_argument(cost, arguments), ...);
  return cost;
}

/// Bytes of the elements that a view shows, each once however often it is broadcast.
double bytes_of(const View& view);

/// Names the kernel `pointer` of the table, for the kernels below whose arguments do not tell everything.
template <auto pointer>
struct Kernel {};

template <auto pointer>
KernelCost cost_of(Kernel<pointer>, const auto&... arguments) {
  return cost_of_arguments(arguments...);
}

KernelCost cost_of(Kernel<&KernelTable::raw_allocate>, int device, size_t bytes);
KernelCost cost_of(Kernel<&KernelTable::axpy>, Stream, double, const View& in, const View& out);
KernelCost cost_of(Kernel<&KernelTable::gather_rows>, Stream, const View& in, const View& index,
                   const View& out);
KernelCost cost_of(Kernel<&KernelTable::scatter_add_rows>, Stream, const View& in, const View& index,
                   const View& out);

KernelCost max_pool_cost(const PoolShape& shape, const int64_t* index);
inline KernelCost cost_of(Kernel<&KernelTable::max_pool>, Stream, const PoolShape& shape, const void*, void*,
                          int64_t* index) {
  return max_pool_cost(shape, index);
}
inline KernelCost cost_of(Kernel<&KernelTable::max_pool_backward>, Stream, const PoolShape& shape,
                          const void*, const int64_t* index, void*) {
  return max_pool_cost(shape, index);
}

KernelCost cost_of(Kernel<&KernelTable::conv_max_pool>, Stream, const ConvShape& convolution,
                   const PoolShape& pooling, const void*, const void*, const void*, bool, void*);

KernelCost cost_of(Kernel<&KernelTable::batch_norm_training>, Stream, const BatchNormShape& shape,
                   const BatchNormForward& memory);
KernelCost cost_of(Kernel<&KernelTable::batch_norm_inference>, Stream, const BatchNormShape& shape,
                   const BatchNormForward& memory);
KernelCost cost_of(Kernel<&KernelTable::batch_norm_backward>, Stream, const BatchNormShape& shape,
                   const BatchNormBackward& memory);

}  // namespace dw
