// Views: the same storage under another shape.
#include <algorithm>
#include <optional>

#include "core/ops.h"
#include "core/tape.h"
#include "core/tensor_impl.h"

namespace dw {
namespace {

// Strides that lay `shape` over memory of `old_shape` and `old_strides`; nothing when only a copy can do it.
std::optional<Shape> view_strides(const Shape& old_shape, const Shape& old_strides, const Shape& shape) {
  Shape strides(shape.size(), 1);
  if (old_shape.empty()) return strides;
  int64_t base = old_strides.back();
  int64_t run = 1;      // elements of the old dimensions that follow each other in memory
  int64_t covered = 1;  // how many of them the new dimensions have used
  size_t next = shape.size();
  for (size_t d = old_shape.size(); d-- > 0;) {
    run *= old_shape[d];
    if (d > 0 && (old_shape[d - 1] == 1 || old_strides[d - 1] == run * base)) continue;
    while (next > 0 && (covered < run || shape[next - 1] == 1)) {
      --next;
      strides[next] = covered * base;
      covered *= shape[next];
    }
    if (covered != run) return std::nullopt;
    if (d > 0) base = old_strides[d - 1];
    run = covered = 1;
  }
  if (next > 0) return std::nullopt;
  return strides;
}

}  // namespace

Tensor Tensor::with_geometry(Shape shape, Shape strides, int64_t offset) const {
  auto impl = std::make_shared<Impl>();
  impl->storage = impl_->storage;
  impl->shape = std::move(shape);
  impl->strides = std::move(strides);
  impl->offset = offset;
  impl->dtype = impl_->dtype;
  return Tensor(std::move(impl));
}

Tensor Tensor::reshape(const Shape& wanted) const {
  Shape target = wanted;
  const auto unknown = std::find(target.begin(), target.end(), -1);
  if (unknown != target.end()) {
    *unknown = 1;
    const int64_t known = numel_of(target);
    *unknown = known == 0 ? 0 : numel() / known;
  }
  require(numel_of(target) == numel(), "cannot reshape {} to {}", shape(), wanted);
  if (numel() == 0) return empty(target, dtype(), device());
  std::optional<Shape> strides = view_strides(impl_->shape, impl_->strides, target);
  if (!strides) return contiguous().reshape(target);
  Tensor result = with_geometry(target, std::move(*strides), impl_->offset);
  Tape::record("reshape", {*this}, result, [from = shape()](const Tensor& gradient, const Needed&) {
    return Gradients{gradient.reshape(from)};
  });
  return result;
}

Tensor Tensor::permute(const std::vector<int>& order) const {
  std::vector<int> inverse(order.size(), -1);
  Shape shape, strides;
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t d = checked_dimension(impl_->shape, order[i]);
    require(order.size() == impl_->shape.size() && inverse[d] < 0,
            "permute expects each of {} dimensions once, found {}", rank(), fmt::join(order, ", "));
    inverse[d] = static_cast<int>(i);
    shape.push_back(impl_->shape[d]);
    strides.push_back(impl_->strides[d]);
  }
  Tensor result = with_geometry(std::move(shape), std::move(strides), impl_->offset);
  Tape::record("permute", {*this}, result, [inverse](const Tensor& gradient, const Needed&) {
    return Gradients{gradient.permute(inverse)};
  });
  return result;
}

Tensor Tensor::transpose(int a, int b) const {
  std::vector<int> order(static_cast<size_t>(rank()));
  for (size_t d = 0; d < order.size(); ++d) order[d] = static_cast<int>(d);
  std::swap(order[checked_dimension(shape(), a)], order[checked_dimension(shape(), b)]);
  return permute(order);
}

Tensor Tensor::slice(int dimension, int64_t start, int64_t end, int64_t step) const {
  const size_t d = checked_dimension(shape(), dimension);
  require(0 <= start && start <= end && end <= impl_->shape[d] && step > 0,
          "slice expects 0 <= start <= end <= {} and step > 0, found [{}, {}) step {} of shape {}",
          impl_->shape[d], start, end, step, shape());
  Shape shape = impl_->shape, strides = impl_->strides;
  shape[d] = (end - start + step - 1) / step;
  strides[d] *= step;
  Tensor result = with_geometry(std::move(shape), strides, impl_->offset + start * impl_->strides[d]);
  Tape::record("slice", {*this}, result,
               [from = impl_->shape, dimension, start, end, step](const Tensor& gradient, const Needed&) {
                 Tensor whole = Tensor::zeros(from, gradient.dtype(), gradient.device());
                 whole.slice(dimension, start, end, step).copy_from(gradient);
                 return Gradients{whole};
               });
  return result;
}

Tensor Tensor::expand(const Shape& wanted) const {
  require(broadcast_shapes(shape(), wanted) == wanted, "cannot expand {} to {}", shape(), wanted);
  Shape strides(wanted.size(), 0);
  const size_t added = wanted.size() - impl_->shape.size();
  for (size_t d = 0; d < impl_->shape.size(); ++d) {
    if (impl_->shape[d] == wanted[added + d]) strides[added + d] = impl_->strides[d];
  }
  Tensor result = with_geometry(wanted, std::move(strides), impl_->offset);
  Tape::record("expand", {*this}, result, [from = shape()](const Tensor& gradient, const Needed&) {
    return Gradients{sum_to(gradient, from)};
  });
  return result;
}

Tensor Tensor::contiguous(Layout layout) const {
  if (is_dense(layout)) return *this;
  Tensor result = empty(shape(), dtype(), device(), layout);
  result.copy_from(*this);
  Tape::record("contiguous", {*this}, result,
               [](const Tensor& gradient, const Needed&) { return Gradients{gradient}; });
  return result;
}

}  // namespace dw
