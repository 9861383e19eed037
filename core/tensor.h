// Tensor: an n-dimensional array on a device. A value type that shares its storage: copies are cheap and see
// the same elements; `clone` makes new ones. Shapes are logical (images are NCHW, filters OIHW); memory order
// is a matter of strides, so that images and filters can be channels-last in memory.
//
// Functions marked (tape) are differentiable: they record themselves on the active tape (core/tape.h).
#pragma once

#include <fmt/ranges.h>

#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/view.h"

namespace dw {

using Shape = std::vector<int64_t>;

/// "[64, 3, 32, 32]".
std::string to_string(const Shape& shape);
int64_t numel_of(const Shape& shape);
/// NumPy broadcasting. Error naming both shapes where they do not fit.
Shape broadcast_shapes(const Shape& a, const Shape& b);

/// Order of elements in dense memory. channels_last is NHWC for rank 4 and the same as contiguous otherwise.
enum class Layout : uint8_t { contiguous, channels_last };

class Tensor {
 public:
  /// An undefined tensor; only defined(), assignment and comparison with itself make sense.
  Tensor() = default;

  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = cpu,
                      Layout layout = Layout::contiguous);
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = cpu,
                     Layout layout = Layout::contiguous);
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = cpu,
                      Layout layout = Layout::contiguous);
  /// Copies host values, given in row-major order. Error when their number is not the shape's.
  template <typename T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device device = cpu);
  template <typename T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device device = cpu) {
    return from(std::span<const T>(values), shape, device);
  }
  /// An uninitialised tensor with the shape, dtype, device and memory order of `other`.
  static Tensor empty_like(const Tensor& other);
  static Tensor zeros_like(const Tensor& other);

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const;
  const Shape& strides() const;  ///< in elements
  int rank() const { return static_cast<int>(shape().size()); }
  int64_t size(int dimension) const;  ///< negative counts from the end
  int64_t numel() const { return numel_of(shape()); }
  DType dtype() const;
  Device device() const;
  /// Whether the elements lie in memory without gaps in this order.
  bool is_dense(Layout layout = Layout::contiguous) const;
  /// The layout in which this tensor is dense; contiguous where it is dense in neither.
  Layout layout() const;

  /// What kernels take. The tensor must outlive the call; on CUDA the queue keeps memory valid after it.
  View view() const;
  /// Address of the first element, in device memory. Error unless T is the dtype.
  template <typename T>
  T* data() const;
  void* raw_data() const;

  /// The elements in row-major order, copied to the host and converted to T.
  template <typename T>
  std::vector<T> to_vector() const;
  /// The only element. Error unless numel is 1.
  double item() const;

  Tensor reshape(const Shape& shape) const;  ///< (tape) one size may be −1; copies when strides demand it
  Tensor permute(const std::vector<int>& order) const;  ///< (tape) view
  Tensor transpose(int a, int b) const;                 ///< (tape) view
  Tensor slice(int dimension, int64_t start, int64_t end,
               int64_t step = 1) const;                         ///< (tape) view of [start, end)
  Tensor expand(const Shape& shape) const;                      ///< (tape) broadcast view, stride 0
  Tensor contiguous(Layout layout = Layout::contiguous) const;  ///< (tape) itself when already dense so
  Tensor to(DType dtype) const;                                 ///< (tape)
  Tensor to(Device device) const;                               ///< same memory order; not differentiable
  Tensor clone() const;  ///< (tape) new storage, same memory order when dense
  /// The same elements, unknown to the tape.
  Tensor detach() const;

  /// Overwrites the elements; shapes must be equal, dtype and device may differ. Not differentiable.
  void copy_from(const Tensor& source) const;
  void fill(double value) const;

  /// A leaf whose gradient Tape::backward delivers to grad().
  const Tensor& set_requires_grad(bool value) const;
  bool requires_grad() const;
  const Tensor& grad() const;  ///< undefined before the first backward
  void set_grad(Tensor gradient) const;

 private:
  friend class Tape;
  struct Impl;
  explicit Tensor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  Tensor with_geometry(Shape shape, Shape strides, int64_t offset) const;

  std::shared_ptr<Impl> impl_;
};

}  // namespace dw
