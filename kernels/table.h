// The kernel table: every operation a device offers, on raw memory, behind one narrow interface.
// Single-source bodies stand in bodies/ (compiled by g++ for the CPU and by nvcc for CUDA); kernels where one
// source would cost clarity or speed stand in cpu/ and cuda/. To add one: its pointer here, its body, its
// line in that file's `add_...` function, its line in profiled_table.cpp.
//
// Common rules. Output memory is allocated by the caller and never overlaps an input unless a comment says
// so; every output element is written. "rows" kernels see channels-last activations as a dense [rows,
// channels] matrix. Statistics and parameters of bf16 layers are f32; otherwise they have the data's dtype
// ("parameter dtype"). Results do not depend on the number of threads (vendor calls excepted).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/device.h"
#include "kernels/philox.h"
#include "kernels/view.h"

namespace dw {

/// out = f(in). `parameter` is used where named.
enum class UnaryOp : uint8_t {
  negate,
  absolute,
  sign,
  square,
  sqrt,
  exp,
  log,
  tanh,
  sigmoid,
  relu,
  reciprocal,
  add_scalar,       ///< in + parameter
  multiply_scalar,  ///< in * parameter
  power_scalar,     ///< in ^ parameter
  leaky_relu,       ///< in < 0 ? parameter * in : in
};

/// out = f(a, b). Comparisons give 1 or 0 in the dtype of `out`.
enum class BinaryOp : uint8_t {
  add,
  subtract,
  multiply,
  divide,
  maximum,
  minimum,
  power,
  equal,
  less,
  greater,
  relu_backward,     ///< a = gradient, b = output: b > 0 ? a : 0
  sigmoid_backward,  ///< a = gradient, b = output: a b (1 - b)
  tanh_backward,     ///< a = gradient, b = output: a (1 - b²)
};

enum class ReduceOp : uint8_t { sum, maximum, minimum };

/// A convolution problem. Memory: activations NHWC, filters OHWI (channels-last both), all dense.
struct ConvShape {
  int64_t batch = 0, in_channels = 0, in_height = 0, in_width = 0;
  int64_t out_channels = 0, kernel_height = 0, kernel_width = 0;
  int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
  DType dtype = DType::f32;
  bool operator==(const ConvShape&) const = default;
  int64_t out_height() const {
    return (in_height + 2 * padding - dilation * (kernel_height - 1) - 1) / stride + 1;
  }
  int64_t out_width() const {
    return (in_width + 2 * padding - dilation * (kernel_width - 1) - 1) / stride + 1;
  }
};

/// C[m,n] = alpha · op(A)[m,k] · op(B)[k,n] + beta · C, row-major, `batch` times at the given element
/// strides.
struct MatmulShape {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0;
  double alpha = 1, beta = 0;
  DType dtype = DType::f32;
};

/// Batch normalisation over the rows of a [rows, channels] matrix, with what stands around it in a residual
/// network done in the same passes over memory:
///   out = relu(normalised(in + addend) · weight + bias + residual)
struct BatchNormShape {
  int64_t rows = 0, channels = 0;
  DType dtype = DType::f32;
  bool relu = false;
  double epsilon = 1e-5;
  double momentum =
      0.1;  ///< running = (1 - momentum) · running + momentum · batch (variance unbiased, as in PyTorch)
};

/// Memory of a batch norm: matrices like `in`; weight to saved_inverse_deviation [channels], parameter dtype.
struct BatchNormForward {
  const void* in = nullptr;
  const void* addend = nullptr;  ///< null: nothing is added before
  void* sum = nullptr;           ///< in + addend, where there is an addend; in inference null: not wanted
  const void *weight = nullptr, *bias = nullptr;
  void *running_mean = nullptr, *running_variance = nullptr;  ///< updated in training, read in inference
  const void* residual = nullptr;                             ///< null: nothing is added behind
  void* out = nullptr;
  void *saved_mean = nullptr, *saved_inverse_deviation = nullptr;  ///< training only
};

/// Memory of the gradients of a batch norm in training.
struct BatchNormBackward {
  const void* out_gradient = nullptr;
  const void* in = nullptr;   ///< the sum, where there was an addend
  const void* out = nullptr;  ///< read where there was a residual and a ReLU
  const void *weight = nullptr, *bias = nullptr, *saved_mean = nullptr, *saved_inverse_deviation = nullptr;
  /// The residual's gradient, given where there was a residual and a ReLU (without a ReLU it is
  /// out_gradient).
  void* residual_gradient = nullptr;
  const void* in_gradient_so_far = nullptr;  ///< null, or what is added to in_gradient
  void* in_gradient = nullptr;               ///< may be out_gradient or in_gradient_so_far
  void *weight_gradient = nullptr, *bias_gradient = nullptr;
};

/// 2-D pooling of NHWC activations; windows reach `padding` beyond the border, where maximum ignores and
/// average counts 0.
struct PoolShape {
  int64_t batch = 0, height = 0, width = 0, channels = 0;
  int64_t kernel = 2, stride = 2, padding = 0;
  DType dtype = DType::f32;
  int64_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  int64_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
};

/// One parameter of an optimizer step: `count` dense elements each. `second` is used by Adam only.
struct OptimizerTensor {
  void* parameter = nullptr;
  const void* gradient = nullptr;
  void* first = nullptr;   ///< momentum buffer or first moment, zero before the first step
  void* second = nullptr;  ///< second moment, zero before the first step
  int64_t count = 0;
  DType dtype = DType::f32;
  double weight_decay = 0;
};

/// g ← gradient + weight_decay · w; buf ← momentum · buf + g; w ← w − lr · (nesterov ? g + momentum · buf :
/// buf).
struct SgdOptions {
  const double* learning_rate =
      nullptr;  ///< one value in device memory, so that a captured step can be replayed
  double momentum = 0;
  bool nesterov = false;
};

/// Adam (Kingma & Ba 2015); decoupled weight decay (AdamW, Loshchilov & Hutter 2019) when `decoupled`.
struct AdamOptions {
  const double* learning_rate = nullptr;  ///< in device memory
  const int64_t* step = nullptr;          ///< in device memory, 1 in the first step
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  bool decoupled = false;
};

/// `count` dense elements of one tensor, to be converted between f32 and bf16.
struct ConvertedTensor {
  const void* in = nullptr;
  void* out = nullptr;
  int64_t count = 0;
  DType from = DType::f32, to = DType::bf16;
};

struct KernelTable {
  // Memory (cpu/device.cpp, cuda/device.cpp): raw allocations behind the pool, copies, waiting.
  void* (*raw_allocate)(int device, size_t bytes);  ///< null when there is not enough
  void (*raw_release)(int device, void* data);
  void (*copy_from_host)(Stream, void* to, const void* from, size_t bytes);
  void (*copy_to_host)(Stream, void* to, const void* from, size_t bytes);  ///< done on return
  void (*copy_on_device)(Stream, void* to, const void* from, size_t bytes);
  void (*synchronize)(Stream);

  // Elementwise over broadcastable strided views (bodies/elementwise.cpp). `out` may be an input (same
  // strides).
  void (*fill)(Stream, const View& out, double value);
  void (*copy)(Stream, const View& in, const View& out);  ///< converts between any two dtypes
  void (*unary)(Stream, UnaryOp, const View& in, const View& out, double parameter);
  void (*binary)(Stream, BinaryOp, const View& a, const View& b, const View& out);
  void (*select)(Stream, const View& condition, const View& a, const View& b,
                 const View& out);                                      ///< condition u8
  void (*axpy)(Stream, double scale, const View& in, const View& out);  ///< out += scale · in

  // Reductions and indexing (bodies/reduce.cpp, bodies/index.cpp).
  void (*reduce)(Stream, ReduceOp, const View& in,
                 const View& out);  ///< `out` has size 1 where `in` is reduced
  void (*argmax)(Stream, const View& in,
                 const View& out);  ///< in [rows, columns], out i64 [rows]; first wins
  /// Adds a batch to sums f64 [3]: its loss times its rows, the rows whose arg-max is their label, the rows.
  /// `loss` one element, logits [rows, columns], labels i64 [rows].
  void (*add_score)(Stream, const View& loss, const View& logits, const View& labels, const View& sums);
  void (*all_finite)(Stream, const View& in, const View& out);  ///< out u8 [1]: 1 when no NaN or infinity
  void (*gather_rows)(Stream, const View& in, const View& index, const View& out);  ///< out[i] = in[index[i]]
  void (*scatter_add_rows)(Stream, const View& in, const View& index,
                           const View& out);  ///< out[index[i]] += in[i], in order

  // Random numbers (bodies/random.cpp), dense outputs; element i of `out` is draw i of the key.
  void (*uniform)(Stream, RandomKey, const View& out, double low, double high);
  void (*normal)(Stream, RandomKey, const View& out, double mean, double deviation);        ///< Box-Muller
  void (*bernoulli)(Stream, RandomKey, const View& out, double probability, double value);  ///< value or 0

  // Optimizers (bodies/optimizer.cpp): all parameters in one call.
  void (*sgd)(Stream, std::span<const OptimizerTensor>, const SgdOptions&);
  void (*adam)(Stream, std::span<const OptimizerTensor>, const AdamOptions&);

  // Master weights to the copies that products are computed with, and gradients back (bodies/convert.cpp).
  void (*convert_all)(Stream, std::span<const ConvertedTensor>);

  // Pooling (bodies/pooling.cpp). `index` i64 like `out`: the winning input's offset within its image and
  // channel (h·W + w); max_pool writes none where it is null.
  void (*max_pool)(Stream, const PoolShape&, const void* in, void* out, int64_t* index);
  void (*max_pool_backward)(Stream, const PoolShape&, const void* out_gradient, const int64_t* index,
                            void* in_gradient);
  void (*average_pool)(Stream, const PoolShape&, const void* in, void* out);
  void (*average_pool_backward)(Stream, const PoolShape&, const void* out_gradient, void* in_gradient);

  // Batch norm and cross entropy (cpu/batch_norm.cpp, cuda/batch_norm.cu, ...).
  void (*batch_norm_training)(Stream, const BatchNormShape&, const BatchNormForward&);
  void (*batch_norm_inference)(Stream, const BatchNormShape&, const BatchNormForward&);
  void (*batch_norm_backward)(Stream, const BatchNormShape&, const BatchNormBackward&);
  /// logits [rows, classes], labels i64 [rows] → losses [rows] (parameter dtype) and
  /// logits_gradient = softmax − one-hot (of each row's own loss). A label outside [0, classes): NaN loss on
  /// CUDA, Error on the CPU.
  void (*softmax_cross_entropy)(Stream, const View& logits, const View& labels, const View& losses,
                                const View& logits_gradient);

  // Vendor libraries (cpu/: oneDNN and BLAS; cuda/: cuDNN graph API and cuBLAS). Plans are cached by shape.
  void (*conv_forward)(Stream, const ConvShape&, const void* in, const void* weight, void* out);
  void (*conv_backward_data)(Stream, const ConvShape&, const void* out_gradient, const void* weight,
                             void* in_gradient);
  void (*conv_backward_weight)(Stream, const ConvShape&, const void* in, const void* out_gradient,
                               void* weight_gradient);
  /// max_pool(conv_forward(in, weight)) + bias, [out_channels] or null, and its ReLU where that is asked for:
  /// what lies between is kept in caches.
  void (*conv_max_pool)(Stream, const ConvShape&, const PoolShape&, const void* in, const void* weight,
                        const void* bias, bool relu, void* out);
  void (*matmul)(Stream, const MatmulShape&, const void* a, const void* b, void* c);
};

/// The table of a device, or its profiled twin (profile.h). Error where the CUDA half is not built.
const KernelTable& kernels(Device device);

}  // namespace dw
