// bf16 on the CPU for what computes in f32 there: operands are widened, the f32 kernel runs, and its result
// is rounded. That is what tensor cores compute, up to the order of sums, and slow: it is there so that
// training in bf16 can be tested without a GPU. Floor: none of its own; it is not meant to be fast.
#include "kernels/table.h"

namespace dw::cpu_backend {
namespace {

/// The table's own f32 kernels.
KernelTable& wide() {
  static KernelTable table;
  return table;
}

View dense(const void* data, DType dtype, int64_t count) {
  View view{const_cast<void*>(data), dtype, 1, {}, {}};
  view.shape[0] = count;
  view.stride[0] = 1;
  return view;
}

/// f32 values for the time of a call: read from bf16, or written back to it by round().
class Widened {
 public:
  Widened(Stream stream, const void* from, int64_t count) : Widened(count) {
    if (from != nullptr)
      wide().copy(stream, dense(from, DType::bf16, count), dense(data(), DType::f32, count));
  }
  explicit Widened(int64_t count) : count_(count), buffer_(cpu, static_cast<size_t>(count) * sizeof(float)) {}
  void* data() const { return buffer_.data(); }
  void round(Stream stream, void* to) const {
    wide().copy(stream, dense(data(), DType::f32, count_), dense(to, DType::bf16, count_));
  }

 private:
  int64_t count_;
  Buffer buffer_;
};

struct ConvSizes {
  int64_t in, weight, out;
  explicit ConvSizes(const ConvShape& s)
      : in(s.batch * s.in_height * s.in_width * s.in_channels),
        weight(s.out_channels * s.kernel_height * s.kernel_width * (s.in_channels / s.groups)),
        out(s.batch * s.out_height() * s.out_width() * s.out_channels) {}
};

template <typename Shape>
Shape as_f32(Shape shape) {
  shape.dtype = DType::f32;
  return shape;
}

void conv_forward(Stream stream, const ConvShape& shape, const void* in, const void* weight, void* out) {
  if (shape.dtype != DType::bf16) return wide().conv_forward(stream, shape, in, weight, out);
  const ConvSizes sizes(shape);
  const Widened x(stream, in, sizes.in), w(stream, weight, sizes.weight), y(sizes.out);
  wide().conv_forward(stream, as_f32(shape), x.data(), w.data(), y.data());
  y.round(stream, out);
}

void conv_backward_data(Stream stream, const ConvShape& shape, const void* out_gradient, const void* weight,
                        void* in_gradient) {
  if (shape.dtype != DType::bf16)
    return wide().conv_backward_data(stream, shape, out_gradient, weight, in_gradient);
  const ConvSizes sizes(shape);
  const Widened y(stream, out_gradient, sizes.out), w(stream, weight, sizes.weight), x(sizes.in);
  wide().conv_backward_data(stream, as_f32(shape), y.data(), w.data(), x.data());
  x.round(stream, in_gradient);
}

void conv_backward_weight(Stream stream, const ConvShape& shape, const void* in, const void* out_gradient,
                          void* weight_gradient) {
  if (shape.dtype != DType::bf16)
    return wide().conv_backward_weight(stream, shape, in, out_gradient, weight_gradient);
  const ConvSizes sizes(shape);
  const Widened x(stream, in, sizes.in), y(stream, out_gradient, sizes.out), w(sizes.weight);
  wide().conv_backward_weight(stream, as_f32(shape), x.data(), y.data(), w.data());
  w.round(stream, weight_gradient);
}

void matmul(Stream stream, const MatmulShape& s, const void* a, const void* b, void* c) {
  if (s.dtype != DType::bf16) return wide().matmul(stream, s, a, b, c);
  const auto span = [&](int64_t stride, int64_t rows, int64_t columns) {
    return s.batch == 0 ? 0 : (s.batch - 1) * stride + rows * columns;
  };
  const Widened left(stream, a, span(s.stride_a, s.m, s.k)), right(stream, b, span(s.stride_b, s.k, s.n)),
      product(stream, s.beta == 0 ? nullptr : c, span(s.stride_c, s.m, s.n));
  wide().matmul(stream, as_f32(s), left.data(), right.data(), product.data());
  product.round(stream, c);
}

void batch_norm_training(Stream stream, const BatchNormShape& shape, const BatchNormForward& memory) {
  if (shape.dtype != DType::bf16) return wide().batch_norm_training(stream, shape, memory);
  const int64_t count = shape.rows * shape.channels;
  const Widened in(stream, memory.in, count), addend(stream, memory.addend, count),
      residual(stream, memory.residual, count), sum(count), out(count);
  BatchNormForward in_f32 = memory;
  in_f32.in = in.data();
  if (memory.addend != nullptr) in_f32.addend = addend.data();
  if (memory.addend != nullptr) in_f32.sum = sum.data();
  if (memory.residual != nullptr) in_f32.residual = residual.data();
  in_f32.out = out.data();
  wide().batch_norm_training(stream, as_f32(shape), in_f32);
  if (memory.addend != nullptr) sum.round(stream, memory.sum);
  out.round(stream, memory.out);
}

void batch_norm_inference(Stream stream, const BatchNormShape& shape, const BatchNormForward& memory) {
  if (shape.dtype != DType::bf16) return wide().batch_norm_inference(stream, shape, memory);
  const int64_t count = shape.rows * shape.channels;
  const Widened in(stream, memory.in, count), addend(stream, memory.addend, count),
      residual(stream, memory.residual, count), sum(memory.sum != nullptr ? count : 0), out(count);
  BatchNormForward in_f32 = memory;
  in_f32.in = in.data();
  if (memory.addend != nullptr) in_f32.addend = addend.data();
  if (memory.sum != nullptr) in_f32.sum = sum.data();
  if (memory.residual != nullptr) in_f32.residual = residual.data();
  in_f32.out = out.data();
  wide().batch_norm_inference(stream, as_f32(shape), in_f32);
  if (memory.addend != nullptr && memory.sum != nullptr) sum.round(stream, memory.sum);
  out.round(stream, memory.out);
}

void batch_norm_backward(Stream stream, const BatchNormShape& shape, const BatchNormBackward& memory) {
  if (shape.dtype != DType::bf16) return wide().batch_norm_backward(stream, shape, memory);
  const int64_t count = shape.rows * shape.channels;
  const Widened out_gradient(stream, memory.out_gradient, count), in(stream, memory.in, count),
      out(stream, memory.out, count), so_far(stream, memory.in_gradient_so_far, count),
      residual_gradient(count), in_gradient(count);
  BatchNormBackward in_f32 = memory;
  in_f32.out_gradient = out_gradient.data();
  in_f32.in = in.data();
  if (memory.out != nullptr) in_f32.out = out.data();
  if (memory.in_gradient_so_far != nullptr) in_f32.in_gradient_so_far = so_far.data();
  if (memory.residual_gradient != nullptr) in_f32.residual_gradient = residual_gradient.data();
  in_f32.in_gradient = in_gradient.data();
  wide().batch_norm_backward(stream, as_f32(shape), in_f32);
  if (memory.residual_gradient != nullptr) residual_gradient.round(stream, memory.residual_gradient);
  in_gradient.round(stream, memory.in_gradient);
}

}  // namespace

void add_bf16(KernelTable& table) {
  wide() = table;
  table.conv_forward = conv_forward;
  table.conv_backward_data = conv_backward_data;
  table.conv_backward_weight = conv_backward_weight;
  table.matmul = matmul;
  table.batch_norm_training = batch_norm_training;
  table.batch_norm_inference = batch_norm_inference;
  table.batch_norm_backward = batch_norm_backward;
}

}  // namespace dw::cpu_backend
