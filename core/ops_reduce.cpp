#include <algorithm>

#include "core/ops.h"
#include "core/tape.h"
#include "core/tensor_impl.h"

namespace dw {
namespace {

// The shape of `shape` with size 1 where it is reduced; an empty list reduces everything.
Shape kept_shape(const Shape& shape, const std::vector<int>& dimensions) {
  if (dimensions.empty()) return Shape(shape.size(), 1);
  Shape kept = shape;
  for (const int dimension : dimensions) kept[checked_dimension(shape, dimension)] = 1;
  return kept;
}

Shape dropped_shape(const Shape& shape, const std::vector<int>& dimensions) {
  if (dimensions.empty()) return {};
  std::vector<bool> reduced(shape.size(), false);
  for (const int dimension : dimensions) reduced[checked_dimension(shape, dimension)] = true;
  Shape dropped;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (!reduced[d]) dropped.push_back(shape[d]);
  }
  return dropped;
}

Tensor run_reduce(ReduceOp op, const Tensor& a, const Shape& kept) {
  Tensor out = Tensor::empty(kept, a.dtype(), a.device());
  kernels(a.device()).reduce(current_stream(a.device()), op, a.view(), out.view());
  return out;
}

}  // namespace

Tensor sum(const Tensor& a, const std::vector<int>& dimensions, bool keep) {
  const Shape kept = kept_shape(a.shape(), dimensions);
  Tensor out;
  {
    const NoGrad pause;
    out = run_reduce(ReduceOp::sum, a, kept);
    if (!keep) out = out.reshape(dropped_shape(a.shape(), dimensions));
  }
  Tape::record("sum", {a}, out, [from = a.shape(), kept](const Tensor& gradient, const Needed&) {
    return Gradients{gradient.reshape(kept).expand(from)};
  });
  return out;
}

Tensor mean(const Tensor& a, const std::vector<int>& dimensions, bool keep) {
  const int64_t count = a.numel() / std::max<int64_t>(1, numel_of(kept_shape(a.shape(), dimensions)));
  require(count > 0, "mean expects at least one element, found shape {}", a.shape());
  return multiply(sum(a, dimensions, keep), 1.0 / static_cast<double>(count));
}

Tensor maximum_over(const Tensor& a, int dimension, bool keep) {
  require(a.size(dimension) > 0, "a maximum needs at least one element, found shape {}", a.shape());
  const Shape kept = kept_shape(a.shape(), {dimension});
  Tensor out, peak;
  {
    const NoGrad pause;
    peak = run_reduce(ReduceOp::maximum, a, kept);
    out = keep ? peak.detach() : peak.reshape(dropped_shape(a.shape(), {dimension}));
  }
  Tape::record("maximum_over", {a}, out, [a, peak, kept, dimension](const Tensor& gradient, const Needed&) {
    const Tensor winners = equal(a, peak).to(a.dtype());
    return Gradients{gradient.reshape(kept) * winners / sum(winners, {dimension}, true)};
  });
  return out;
}

Tensor sum_to(const Tensor& a, const Shape& shape) {
  if (a.shape() == shape) return a;
  require(broadcast_shapes(a.shape(), shape) == a.shape(), "cannot sum {} to {}", a.shape(), shape);
  const size_t added = a.shape().size() - shape.size();
  std::vector<int> dimensions;
  for (size_t d = 0; d < a.shape().size(); ++d) {
    if (d < added || (shape[d - added] == 1 && a.shape()[d] != 1)) dimensions.push_back(static_cast<int>(d));
  }
  return dimensions.empty() ? a.reshape(shape) : sum(a, dimensions, true).reshape(shape);
}

Tensor log_softmax(const Tensor& a, int dimension) {
  Tensor out;
  {
    const NoGrad pause;
    const Tensor shifted = a - maximum_over(a, dimension, true);
    out = shifted - log(sum(exp(shifted), {dimension}, true));
  }
  Tape::record("log_softmax", {a}, out, [out, dimension](const Tensor& gradient, const Needed&) {
    return Gradients{gradient - exp(out) * sum(gradient, {dimension}, true)};
  });
  return out;
}

Tensor softmax(const Tensor& a, int dimension) {
  return exp(log_softmax(a, dimension));
}

Tensor argmax(const Tensor& rows) {
  require(rows.rank() == 2 && rows.size(1) > 0, "argmax expects rows [n, columns], found shape {}",
          rows.shape());
  Tensor out = Tensor::empty({rows.size(0)}, DType::i64, rows.device());
  kernels(rows.device()).argmax(current_stream(rows.device()), rows.detach().contiguous().view(), out.view());
  return out;
}

bool all_finite(const Tensor& a) {
  const Tensor flag = Tensor::empty({1}, DType::u8, a.device());
  kernels(a.device()).all_finite(current_stream(a.device()), a.view(), flag.view());
  return flag.item() != 0;
}

}  // namespace dw
