// Floors of the kernels, from their arguments.
#include "kernels/kernel_cost.h"

#include <algorithm>
#include <string_view>

namespace dw {
namespace {

constexpr std::array unary_names{"negate",
                                 "absolute",
                                 "sign",
                                 "square",
                                 "sqrt",
                                 "exp",
                                 "log",
                                 "tanh",
                                 "sigmoid",
                                 "relu",
                                 "reciprocal",
                                 "add_scalar",
                                 "multiply_scalar",
                                 "power_scalar",
                                 "leaky_relu"};
static_assert(unary_names.size() == static_cast<size_t>(UnaryOp::leaky_relu) + 1);
constexpr std::array binary_names{
    "add",   "subtract", "multiply", "divide",        "maximum",          "minimum",      "power",
    "equal", "less",     "greater",  "relu_backward", "sigmoid_backward", "tanh_backward"};
static_assert(binary_names.size() == static_cast<size_t>(BinaryOp::tanh_backward) + 1);
constexpr std::array reduce_names{"sum", "maximum", "minimum"};
static_assert(reduce_names.size() == static_cast<size_t>(ReduceOp::minimum) + 1);

double product(std::initializer_list<int64_t> factors) {
  double result = 1;
  for (const int64_t factor : factors) result *= static_cast<double>(factor);
  return result;
}

double size_in_bytes(DType dtype) {
  return static_cast<double>(size_of(dtype));
}

void append(std::string& problem, std::string_view word) {
  if (!problem.empty()) problem += ' ';
  problem += word;
}

// f32 is what nearly everything is, and goes without saying.
void append_dtype(std::string& problem, DType dtype) {
  if (dtype != DType::f32) append(problem, name_of(dtype));
}

std::string dimensions(const View& view) {
  if (view.rank == 0) return "1";
  std::string text;
  for (int d = 0; d < view.rank; ++d)
    text += fmt::format("{}{}", d > 0 ? "×" : "", view.shape[static_cast<size_t>(d)]);
  return text;
}

std::string megabytes(size_t bytes) {
  return bytes < 1000000 ? fmt::format("{} B", bytes)
                         : fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

/// Every one of `matrices` that there is moves once; what is added before and behind is named.
KernelCost batch_norm_cost(const BatchNormShape& s, std::initializer_list<const void*> matrices,
                           const void* addend, const void* residual) {
  KernelCost cost;
  cost.flops = product({s.rows, s.channels});
  for (const void* matrix : matrices)
    if (matrix != nullptr) cost.bytes += cost.flops * size_in_bytes(s.dtype);
  cost.problem = fmt::format("{}×{}{}{}{}", s.rows, s.channels, addend ? " sum" : "",
                             residual ? " residual" : "", s.relu ? " relu" : "");
  append_dtype(cost.problem, s.dtype);
  return cost;
}

double elements_in(const PoolShape& s) {
  return product({s.batch, s.height, s.width, s.channels});
}
double elements_out(const PoolShape& s) {
  return product({s.batch, s.out_height(), s.out_width(), s.channels});
}

}  // namespace

double bytes_of(const View& view) {
  double elements = 1;
  for (size_t d = 0; d < static_cast<size_t>(view.rank); ++d)
    if (view.stride[d] != 0 || view.shape[d] == 0) elements *= static_cast<double>(view.shape[d]);
  return elements * size_in_bytes(view.dtype);
}

void add_argument(KernelCost& cost, const View& view) {
  cost.bytes += bytes_of(view);
  cost.flops = std::max(cost.flops, static_cast<double>(view.numel()));
  // Views of one shape are named once: "64×10", but "64×10 → 10".
  const std::string shape = dimensions(view);
  if (cost.problem.ends_with(shape)) return;
  if (!cost.problem.empty() && cost.problem.find_first_of("0123456789") != std::string::npos)
    append(cost.problem, "→");
  append_dtype(cost.problem, view.dtype);
  append(cost.problem, shape);
}

void add_argument(KernelCost& cost, const ConvShape& s) {
  const double out = product({s.batch, s.out_channels, s.out_height(), s.out_width()});
  const double in = product({s.batch, s.in_channels, s.in_height, s.in_width});
  const double taps = product({s.in_channels / s.groups, s.kernel_height, s.kernel_width});
  cost.flops += 2 * out * taps;
  cost.bytes += (in + out + static_cast<double>(s.out_channels) * taps) * size_in_bytes(s.dtype);
  append(cost.problem, fmt::format("{}×{}×{}×{} → {}, {}×{}", s.batch, s.in_channels, s.in_height, s.in_width,
                                   s.out_channels, s.kernel_height, s.kernel_width));
  if (s.stride != 1) append(cost.problem, fmt::format("stride {}", s.stride));
  if (s.dilation != 1) append(cost.problem, fmt::format("dilation {}", s.dilation));
  if (s.groups != 1) append(cost.problem, fmt::format("groups {}", s.groups));
  append_dtype(cost.problem, s.dtype);
}

void add_argument(KernelCost& cost, const MatmulShape& s) {
  const auto read = [&](int64_t rows, int64_t columns, int64_t stride) {
    return product({rows, columns, stride == 0 ? 1 : s.batch});
  };
  const double c = product({s.m, s.n, s.batch});
  cost.flops += 2 * c * static_cast<double>(s.k);
  cost.bytes += (read(s.m, s.k, s.stride_a) + read(s.k, s.n, s.stride_b) + (s.beta != 0 ? 2 : 1) * c) *
                size_in_bytes(s.dtype);
  append(cost.problem, fmt::format("{}{}×{}{}·{}×{}{}", s.batch == 1 ? "" : fmt::format("{} of ", s.batch),
                                   s.m, s.k, s.transpose_a ? "ᵀ" : "", s.k, s.n, s.transpose_b ? "ᵀ" : ""));
  append_dtype(cost.problem, s.dtype);
}

void add_argument(KernelCost& cost, const PoolShape& s) {
  cost.flops += elements_out(s) * product({s.kernel, s.kernel});
  cost.bytes += (elements_in(s) + elements_out(s)) * size_in_bytes(s.dtype);
  append(cost.problem, fmt::format("{}×{}×{}×{}, {}×{} stride {}", s.batch, s.channels, s.height, s.width,
                                   s.kernel, s.kernel, s.stride));
  append_dtype(cost.problem, s.dtype);
}

void add_argument(KernelCost& cost, std::span<const OptimizerTensor> tensors) {
  int64_t weights = 0;
  for (const OptimizerTensor& tensor : tensors) {
    weights += tensor.count;
    // Weight, gradient and each state are read; weight and each state are written.
    const int transfers = tensor.second == nullptr ? 5 : 7;
    cost.flops += static_cast<double>(tensor.count);
    cost.bytes += product({transfers, tensor.count}) * size_in_bytes(tensor.dtype);
  }
  append(cost.problem, fmt::format("{} weights in {}", weights, tensors.size()));
}

void add_argument(KernelCost& cost, std::span<const ConvertedTensor> tensors) {
  int64_t elements = 0;
  for (const ConvertedTensor& tensor : tensors) {
    elements += tensor.count;
    cost.flops += static_cast<double>(tensor.count);
    cost.bytes += static_cast<double>(tensor.count) *
                  static_cast<double>(size_in_bytes(tensor.from) + size_in_bytes(tensor.to));
  }
  append(cost.problem, fmt::format("{} elements in {}", elements, tensors.size()));
}

void add_argument(KernelCost& cost, size_t copied_bytes) {
  cost.bytes += 2 * static_cast<double>(copied_bytes);
  append(cost.problem, megabytes(copied_bytes));
}

void add_argument(KernelCost& cost, UnaryOp op) {
  append(cost.problem, unary_names[static_cast<size_t>(op)]);
}
void add_argument(KernelCost& cost, BinaryOp op) {
  append(cost.problem, binary_names[static_cast<size_t>(op)]);
}
void add_argument(KernelCost& cost, ReduceOp op) {
  append(cost.problem, reduce_names[static_cast<size_t>(op)]);
}

KernelCost cost_of(Kernel<&KernelTable::raw_allocate>, int, size_t bytes) {
  return {megabytes(bytes)};
}

KernelCost cost_of(Kernel<&KernelTable::axpy>, Stream, double, const View& in, const View& out) {
  KernelCost cost = cost_of_arguments(in, out);
  cost.bytes += bytes_of(out);
  return cost;
}

KernelCost cost_of(Kernel<&KernelTable::gather_rows>, Stream, const View& in, const View& index,
                   const View& out) {
  KernelCost cost = cost_of_arguments(in, out);
  cost.bytes = bytes_of(index) + 2 * bytes_of(out);
  return cost;
}

KernelCost cost_of(Kernel<&KernelTable::scatter_add_rows>, Stream, const View& in, const View& index,
                   const View& out) {
  KernelCost cost = cost_of_arguments(in, out);
  cost.bytes = bytes_of(index) + 3 * bytes_of(in);
  return cost;
}

KernelCost max_pool_cost(const PoolShape& shape, const int64_t* index) {
  KernelCost cost = cost_of_arguments(shape);
  if (index != nullptr) cost.bytes += elements_out(shape) * sizeof(int64_t);
  return cost;
}

KernelCost cost_of(Kernel<&KernelTable::conv_max_pool>, Stream, const ConvShape& convolution,
                   const PoolShape& pooling, const void*, const void*, const void*, bool, void*) {
  KernelCost cost = cost_of_arguments(convolution);
  cost.bytes += (elements_out(pooling) - elements_in(pooling)) * size_in_bytes(pooling.dtype);
  append(cost.problem, fmt::format("{}×{} maxima", pooling.kernel, pooling.kernel));
  return cost;
}

KernelCost cost_of(Kernel<&KernelTable::batch_norm_training>, Stream, const BatchNormShape& shape,
                   const BatchNormForward& memory) {
  return batch_norm_cost(
      shape, {memory.in, memory.addend, memory.addend ? memory.sum : nullptr, memory.residual, memory.out},
      memory.addend, memory.residual);
}

KernelCost cost_of(Kernel<&KernelTable::batch_norm_inference>, Stream, const BatchNormShape& shape,
                   const BatchNormForward& memory) {
  return batch_norm_cost(
      shape, {memory.in, memory.addend, memory.addend ? memory.sum : nullptr, memory.residual, memory.out},
      memory.addend, memory.residual);
}

KernelCost cost_of(Kernel<&KernelTable::batch_norm_backward>, Stream, const BatchNormShape& shape,
                   const BatchNormBackward& memory) {
  // The output is read where its sign is the residual's gradient's mask.
  const void* const mask = memory.residual_gradient ? memory.out : nullptr;
  return batch_norm_cost(shape,
                         {memory.out_gradient, memory.in, mask, memory.residual_gradient,
                          memory.in_gradient_so_far, memory.in_gradient},
                         memory.in_gradient_so_far, memory.residual_gradient);
}

}  // namespace dw
