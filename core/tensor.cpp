#include "core/tensor.h"

#include <algorithm>

#include "core/tape.h"
#include "core/tensor_impl.h"
#include "kernels/table.h"

namespace dw {
namespace {

Shape dense_strides(const Shape& shape, Layout layout) {
  Shape strides(shape.size());
  std::vector<size_t> order;  // from the slowest to the fastest dimension
  if (layout == Layout::channels_last && shape.size() == 4) {
    order = {0, 2, 3, 1};
  } else {
    for (size_t d = 0; d < shape.size(); ++d) order.push_back(d);
  }
  int64_t stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= std::max<int64_t>(shape[order[i]], 1);
  }
  return strides;
}

bool same_memory_order(const Shape& shape, const Shape& a, const Shape& b) {
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] != 1 && a[d] != b[d]) return false;
  }
  return true;
}

}  // namespace

size_t checked_dimension(const Shape& shape, int dimension) {
  const int rank = static_cast<int>(shape.size());
  const int found = dimension < 0 ? dimension + rank : dimension;
  require(found >= 0 && found < rank, "dimension {} is outside a tensor of shape {}", dimension, shape);
  return static_cast<size_t>(found);
}

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

int64_t numel_of(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

Shape broadcast_shapes(const Shape& a, const Shape& b) {
  Shape result(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < result.size(); ++i) {
    const int64_t from_a = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t from_b = i < b.size() ? b[b.size() - 1 - i] : 1;
    require(from_a == from_b || from_a == 1 || from_b == 1, "shapes {} and {} do not broadcast", a, b);
    result[result.size() - 1 - i] = from_a == 1 ? from_b : from_a;
  }
  return result;
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device, Layout layout) {
  require(shape.size() <= static_cast<size_t>(max_rank), "a tensor has at most {} dimensions, found shape {}",
          max_rank, shape);
  for (const int64_t size : shape) require(size >= 0, "a size cannot be negative, found shape {}", shape);
  auto impl = std::make_shared<Impl>();
  impl->storage = std::make_shared<Buffer>(device, static_cast<size_t>(numel_of(shape)) * size_of(dtype));
  impl->shape = shape;
  impl->strides = dense_strides(shape, layout);
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device, Layout layout) {
  Tensor result = empty(shape, dtype, device, layout);
  result.fill(value);
  return result;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device, Layout layout) {
  return full(shape, 0.0, dtype, device, layout);
}

template <typename T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape, Device device) {
  require(static_cast<int64_t>(values.size()) == numel_of(shape), "shape {} expects {} values, found {}",
          shape, numel_of(shape), values.size());
  Tensor result = empty(shape, dtype_of<T>, device);
  copy_bytes(device, result.raw_data(), cpu, values.data(), values.size_bytes());
  return result;
}

template Tensor Tensor::from(std::span<const float>, const Shape&, Device);
template Tensor Tensor::from(std::span<const double>, const Shape&, Device);
template Tensor Tensor::from(std::span<const int64_t>, const Shape&, Device);
template Tensor Tensor::from(std::span<const uint8_t>, const Shape&, Device);

Tensor Tensor::empty_like(const Tensor& other) {
  return empty(other.shape(), other.dtype(), other.device(), other.layout());
}

Tensor Tensor::zeros_like(const Tensor& other) {
  return zeros(other.shape(), other.dtype(), other.device(), other.layout());
}

const Shape& Tensor::shape() const {
  require(defined(), "expected a tensor, found an undefined one");
  return impl_->shape;
}

const Shape& Tensor::strides() const {
  require(defined(), "expected a tensor, found an undefined one");
  return impl_->strides;
}

int64_t Tensor::size(int dimension) const {
  return shape()[checked_dimension(shape(), dimension)];
}

DType Tensor::dtype() const {
  require(defined(), "expected a tensor, found an undefined one");
  return impl_->dtype;
}

Device Tensor::device() const {
  require(defined(), "expected a tensor, found an undefined one");
  return impl_->storage->device();
}

bool Tensor::is_dense(Layout layout) const {
  return same_memory_order(shape(), strides(), dense_strides(shape(), layout));
}

Layout Tensor::layout() const {
  return !is_dense(Layout::contiguous) && is_dense(Layout::channels_last) ? Layout::channels_last
                                                                          : Layout::contiguous;
}

View Tensor::view() const {
  View view;
  view.data = raw_data();
  view.dtype = dtype();
  view.rank = rank();
  std::copy(impl_->shape.begin(), impl_->shape.end(), view.shape.begin());
  std::copy(impl_->strides.begin(), impl_->strides.end(), view.stride.begin());
  return view;
}

void* Tensor::raw_data() const {
  require(defined(), "expected a tensor, found an undefined one");
  return static_cast<std::byte*>(impl_->storage->data()) +
         static_cast<size_t>(impl_->offset) * size_of(impl_->dtype);
}

template <typename T>
T* Tensor::data() const {
  require(dtype() == dtype_of<T>, "expected a tensor of {}, found {} of shape {}", name_of(dtype_of<T>),
          name_of(dtype()), shape());
  return static_cast<T*>(raw_data());
}

template float* Tensor::data() const;
template double* Tensor::data() const;
template bfloat16* Tensor::data() const;
template int64_t* Tensor::data() const;
template uint8_t* Tensor::data() const;

template <typename T>
std::vector<T> Tensor::to_vector() const {
  const NoGrad pause;
  const Tensor source = to(dtype_of<T>).contiguous();
  std::vector<T> values(static_cast<size_t>(numel()));
  copy_bytes(cpu, values.data(), device(), source.raw_data(), values.size() * sizeof(T));
  return values;
}

template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;
template std::vector<bfloat16> Tensor::to_vector() const;
template std::vector<int64_t> Tensor::to_vector() const;
template std::vector<uint8_t> Tensor::to_vector() const;

double Tensor::item() const {
  require(numel() == 1, "item expects one element, found shape {}", shape());
  return to_vector<double>()[0];
}

Tensor Tensor::to(DType wanted) const {
  if (wanted == dtype()) return *this;
  Tensor result = empty(shape(), wanted, device(), layout());
  result.copy_from(*this);
  Tape::record("to", {*this}, result, [from = dtype()](const Tensor& gradient, const Needed&) {
    return Gradients{gradient.to(from)};
  });
  return result;
}

Tensor Tensor::to(Device wanted) const {
  if (wanted == device()) return *this;
  const Layout order = layout();
  const Tensor dense = contiguous(order);
  Tensor result = empty(shape(), dtype(), wanted, order);
  copy_bytes(wanted, result.raw_data(), device(), dense.raw_data(),
             static_cast<size_t>(numel()) * size_of(dtype()));
  return result;
}

Tensor Tensor::clone() const {
  Tensor result = empty_like(*this);
  result.copy_from(*this);
  Tape::record("clone", {*this}, result,
               [](const Tensor& gradient, const Needed&) { return Gradients{gradient}; });
  return result;
}

Tensor Tensor::detach() const {
  return with_geometry(impl_->shape, impl_->strides, impl_->offset);
}

void Tensor::copy_from(const Tensor& source) const {
  require(source.shape() == shape(), "copy_from expects shape {}, found {}", shape(), source.shape());
  const NoGrad pause;
  const Tensor here = source.to(device());
  kernels(device()).copy(current_stream(device()), here.view(), view());
}

void Tensor::fill(double value) const {
  kernels(device()).fill(current_stream(device()), view(), value);
}

const Tensor& Tensor::set_requires_grad(bool value) const {
  require(!value || is_floating(dtype()), "only floating tensors have gradients, found {}", name_of(dtype()));
  impl_->requires_grad = value;
  return *this;
}

bool Tensor::requires_grad() const {
  return impl_->requires_grad;
}
const Tensor& Tensor::grad() const {
  return impl_->grad;
}

void Tensor::set_grad(Tensor gradient) const {
  if (gradient.defined()) {
    require(gradient.shape() == shape(), "a gradient of shape {} does not fit a tensor of shape {}",
            gradient.shape(), shape());
  }
  impl_->grad = std::move(gradient);
}

}  // namespace dw
