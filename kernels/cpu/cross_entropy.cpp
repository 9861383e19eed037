// Softmax cross entropy on the CPU: loss and gradient of each row in one pass over it, by log-sum-exp.
// Floor: logits read and their gradient written, 2 · rows · classes · element size.
#include <algorithm>
#include <cmath>

#include "kernels/table.h"

namespace dw::cpu_backend {
namespace {

template <typename T>
void row_loss(int64_t classes, const T* logits, int64_t stride, int64_t label, T* loss, T* gradient,
              int64_t gradient_stride) {
  T largest = logits[0];
  for (int64_t i = 1; i < classes; ++i) largest = std::max(largest, logits[i * stride]);
  double sum = 0;
  for (int64_t i = 0; i < classes; ++i) {
    const T power = std::exp(logits[i * stride] - largest);
    gradient[i * gradient_stride] = power;
    sum += static_cast<double>(power);
  }
  *loss = static_cast<T>(std::log(sum) - static_cast<double>(logits[label * stride] - largest));
  for (int64_t i = 0; i < classes; ++i)
    gradient[i * gradient_stride] = static_cast<T>(static_cast<double>(gradient[i * gradient_stride]) / sum);
  gradient[label * gradient_stride] -= 1;
}

void softmax_cross_entropy(Stream, const View& logits, const View& labels, const View& losses,
                           const View& logits_gradient) {
  const int64_t rows = logits.shape[0], classes = logits.shape[1];
  require(logits.rank == 2 && classes > 0 && labels.dtype == DType::i64 && labels.numel() == rows &&
              losses.dtype == logits.dtype && losses.numel() == rows &&
              logits_gradient.dtype == logits.dtype && logits_gradient.shape == logits.shape,
          "cross entropy expects logits [rows, classes], i64 labels [rows], losses [rows] and a gradient "
          "like the "
          "logits, found {} logits of rank {}, {} labels, {} losses",
          name_of(logits.dtype), logits.rank, labels.numel(), losses.numel());
  const auto label_of = [&](int64_t row) {
    return static_cast<const int64_t*>(labels.data)[row * labels.stride[0]];
  };
  for (int64_t row = 0; row < rows; ++row)
    require(label_of(row) >= 0 && label_of(row) < classes,
            "cross entropy expects labels from 0 to {}, found {} in row {}", classes - 1, label_of(row), row);
  dispatch_float_double(logits.dtype, "cross entropy on the CPU", [&](auto zero) {
    using T = decltype(zero);
#pragma omp parallel for if (rows * classes > 8192)
    for (int64_t row = 0; row < rows; ++row)
      row_loss(classes, static_cast<const T*>(logits.data) + row * logits.stride[0], logits.stride[1],
               label_of(row), static_cast<T*>(losses.data) + row * losses.stride[0],
               static_cast<T*>(logits_gradient.data) + row * logits_gradient.stride[0],
               logits_gradient.stride[1]);
  });
}

}  // namespace

void add_cross_entropy(KernelTable& table) {
  table.softmax_cross_entropy = softmax_cross_entropy;
}

}  // namespace dw::cpu_backend
