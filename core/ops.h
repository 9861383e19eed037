// Differentiable operations on tensors. Each records itself on the active tape; forward and backward stand
// side by side in core/ops_*.cpp. Inputs of an operation live on one device and have one dtype; results are
// new tensors.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "kernels/table.h"

namespace dw {

// Elementwise with NumPy broadcasting (ops_elementwise.cpp).
Tensor add(const Tensor& a, const Tensor& b);
Tensor subtract(const Tensor& a, const Tensor& b);
Tensor multiply(const Tensor& a, const Tensor& b);
Tensor divide(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);  ///< where equal, the gradient goes to `a`
Tensor minimum(const Tensor& a, const Tensor& b);  ///< where equal, the gradient goes to `a`
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);  ///< condition u8
Tensor add(const Tensor& a, double b);
Tensor multiply(const Tensor& a, double b);
Tensor power(const Tensor& a, double exponent);
Tensor negate(const Tensor& a);
Tensor absolute(const Tensor& a);  ///< gradient 0 at 0
Tensor square(const Tensor& a);
Tensor sqrt(const Tensor& a);
Tensor exp(const Tensor& a);
Tensor log(const Tensor& a);
Tensor tanh(const Tensor& a);
Tensor sigmoid(const Tensor& a);
Tensor relu(const Tensor& a);  ///< gradient 0 at 0
Tensor leaky_relu(const Tensor& a, double slope = 0.01);

inline Tensor operator+(const Tensor& a, const Tensor& b) {
  return add(a, b);
}
inline Tensor operator-(const Tensor& a, const Tensor& b) {
  return subtract(a, b);
}
inline Tensor operator*(const Tensor& a, const Tensor& b) {
  return multiply(a, b);
}
inline Tensor operator/(const Tensor& a, const Tensor& b) {
  return divide(a, b);
}
inline Tensor operator-(const Tensor& a) {
  return negate(a);
}

// Comparisons, u8 results, not differentiable.
Tensor equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);

// Reductions (ops_reduce.cpp) over `dimensions` (empty: all); `keep` leaves them with size 1.
Tensor sum(const Tensor& a, const std::vector<int>& dimensions = {}, bool keep = false);
Tensor mean(const Tensor& a, const std::vector<int>& dimensions = {}, bool keep = false);
Tensor maximum_over(const Tensor& a, int dimension, bool keep = false);  ///< ties share the gradient
Tensor sum_to(const Tensor& a, const Shape& shape);                      ///< undoes broadcasting from `shape`
Tensor log_softmax(const Tensor& a, int dimension);
Tensor softmax(const Tensor& a, int dimension);
Tensor argmax(const Tensor& rows);  ///< [rows, columns] → i64 [rows]; the first of equals; not differentiable
bool all_finite(const Tensor& a);  ///< waits for the device

// Linear algebra and indexing (ops_matrix.cpp).
Tensor matmul(const Tensor& a, const Tensor& b);  ///< [m,k]·[k,n] or batched [b,m,k]·[b,k,n]
Tensor linear(const Tensor& input, const Tensor& weight,
              const Tensor& bias);                         ///< [n,i], [o,i], [o] or undefined → [n,o]
Tensor gather_rows(const Tensor& a, const Tensor& index);  ///< a[index[i], ...]; index i64 of rank 1
Tensor concatenate(const std::vector<Tensor>& parts, int dimension);

// Convolution and pooling (ops_convolution.cpp). Images are NCHW; results are channels-last in memory.
struct ConvOptions {
  int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
};
/// input [n,i,h,w], weight [o,i/groups,kh,kw], bias [o] or undefined.
Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const ConvOptions& options);

struct PoolOptions {
  int64_t kernel = 2, stride = 2, padding = 0;
};
Tensor max_pool2d(const Tensor& input, const PoolOptions& options);
/// max_pool2d(conv2d(...)), or its ReLU. Without a tape in one pass, where what is pooled stays in the
/// caches.
Tensor conv2d_max_pool2d(const Tensor& input, const Tensor& weight, const Tensor& bias,
                         const ConvOptions& conv_options, const PoolOptions& pool_options,
                         bool with_relu = false);
Tensor average_pool2d(const Tensor& input, const PoolOptions& options);  ///< padding counts as zeros
Tensor global_average_pool(const Tensor& input);                         ///< [n,c,h,w] → [n,c]

// Normalisation, loss and noise (ops_network.cpp).
struct BatchNormOptions {
  double epsilon = 1e-5;
  double momentum = 0.1;
  bool relu = false;  ///< apply ReLU to the result in the same pass
};
/// Normalises each channel of [n,c,h,w] or [n,c] over the batch and updates the running statistics in place.
/// `residual`, unless undefined, is like `input` and added to the result before the ReLU.
Tensor batch_norm_training(const Tensor& input, const Tensor& weight, const Tensor& bias,
                           const Tensor& running_mean, const Tensor& running_variance,
                           const BatchNormOptions& options, const Tensor& residual = {});
/// Normalises by the running statistics, which stay as they are.
Tensor batch_norm_inference(const Tensor& input, const Tensor& weight, const Tensor& bias,
                            const Tensor& running_mean, const Tensor& running_variance,
                            const BatchNormOptions& options, const Tensor& residual = {});
/// a + b, and batch_norm_training of it, in the same passes over memory. `b` is like `a`.
struct NormalisedSum {
  Tensor sum, out;
};
NormalisedSum batch_norm_training_of_sum(const Tensor& a, const Tensor& b, const Tensor& weight,
                                         const Tensor& bias, const Tensor& running_mean,
                                         const Tensor& running_variance, const BatchNormOptions& options);
/// Likewise by the running statistics. Without `keep_sum` the sum is not written, and undefined, unless
/// gradients need it.
NormalisedSum batch_norm_inference_of_sum(const Tensor& a, const Tensor& b, const Tensor& weight,
                                          const Tensor& bias, const Tensor& running_mean,
                                          const Tensor& running_variance, const BatchNormOptions& options,
                                          bool keep_sum = true);
/// Mean over rows of −log softmax(logits)[label]. logits [n,classes], labels i64 [n] → one element.
Tensor cross_entropy(const Tensor& logits, const Tensor& labels);
/// Zeroes each element with `probability` and scales the rest by 1 / (1 − probability). Draws from
/// core/random.h.
Tensor dropout(const Tensor& input, double probability);

}  // namespace dw
