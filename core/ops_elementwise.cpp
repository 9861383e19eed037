#include "core/op_support.h"
#include "core/ops.h"
#include "core/tape.h"

namespace dw {
namespace {

const KernelTable& table_of(const Tensor& tensor) {
  return kernels(tensor.device());
}
Tensor run_unary(UnaryOp op, const Tensor& a, double parameter = 0) {
  Tensor out = Tensor::empty_like(a);
  table_of(a).unary(stream_of(a), op, a.view(), out.view(), parameter);
  return out;
}

Tensor run_binary(BinaryOp op, const char* name, const Tensor& a, const Tensor& b, bool comparison = false) {
  require(a.dtype() == b.dtype() && a.device() == b.device(),
          "{} expects two tensors of one dtype and device, found {} on {} and {} on {}", name,
          name_of(a.dtype()), to_string(a.device()), name_of(b.dtype()), to_string(b.device()));
  const Shape shape = broadcast_shapes(a.shape(), b.shape());
  // The result lies in memory like the larger operand, so that channels-last stays channels-last.
  const Layout layout = a.shape() == shape   ? a.layout()
                        : b.shape() == shape ? b.layout()
                                             : Layout::contiguous;
  Tensor out = Tensor::empty(shape, comparison ? DType::u8 : a.dtype(), a.device(), layout);
  table_of(a).binary(stream_of(a), op, a.expand(shape).view(), b.expand(shape).view(), out.view());
  return out;
}

using BinaryGradient = Tensor (*)(const Tensor& gradient, const Tensor& a, const Tensor& b);

// A binary operation with the gradients of its two operands, before broadcasting is undone.
Tensor differentiable(BinaryOp op, const char* name, const Tensor& a, const Tensor& b, BinaryGradient to_a,
                      BinaryGradient to_b) {
  Tensor out;
  {
    const NoGrad pause;
    out = run_binary(op, name, a, b);
  }
  Tape::record(name, {a, b}, out, [a, b, to_a, to_b](const Tensor& gradient, const Needed& needed) {
    Gradients result(2);
    if (needed[0]) result[0] = sum_to(to_a(gradient, a, b), a.shape());
    if (needed[1]) result[1] = sum_to(to_b(gradient, a, b), b.shape());
    return result;
  });
  return out;
}

Tensor pass(const Tensor& gradient, const Tensor&, const Tensor&) {
  return gradient;
}

Tensor as_mask(const Tensor& condition, DType dtype) {
  return condition.to(dtype);
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  return differentiable(BinaryOp::add, "add", a, b, pass, pass);
}

Tensor subtract(const Tensor& a, const Tensor& b) {
  return differentiable(BinaryOp::subtract, "subtract", a, b, pass,
                        [](const Tensor& g, const Tensor&, const Tensor&) { return negate(g); });
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  return differentiable(
      BinaryOp::multiply, "multiply", a, b,
      [](const Tensor& g, const Tensor&, const Tensor& y) { return g * y; },
      [](const Tensor& g, const Tensor& x, const Tensor&) { return g * x; });
}

Tensor divide(const Tensor& a, const Tensor& b) {
  return differentiable(
      BinaryOp::divide, "divide", a, b, [](const Tensor& g, const Tensor&, const Tensor& y) { return g / y; },
      [](const Tensor& g, const Tensor& x, const Tensor& y) { return negate(g * x / (y * y)); });
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  return differentiable(
      BinaryOp::maximum, "maximum", a, b,
      [](const Tensor& g, const Tensor& x, const Tensor& y) {
        return g - g * as_mask(less(x, y), g.dtype());
      },
      [](const Tensor& g, const Tensor& x, const Tensor& y) { return g * as_mask(less(x, y), g.dtype()); });
}

Tensor minimum(const Tensor& a, const Tensor& b) {
  return differentiable(
      BinaryOp::minimum, "minimum", a, b,
      [](const Tensor& g, const Tensor& x, const Tensor& y) {
        return g - g * as_mask(greater(x, y), g.dtype());
      },
      [](const Tensor& g, const Tensor& x, const Tensor& y) {
        return g * as_mask(greater(x, y), g.dtype());
      });
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  require(condition.dtype() == DType::u8, "where expects a u8 condition, found {}",
          name_of(condition.dtype()));
  require(a.dtype() == b.dtype(), "where expects two values of one dtype, found {} and {}",
          name_of(a.dtype()), name_of(b.dtype()));
  const Shape shape = broadcast_shapes(condition.shape(), broadcast_shapes(a.shape(), b.shape()));
  Tensor out = Tensor::empty(shape, a.dtype(), a.device());
  {
    const NoGrad pause;
    table_of(a).select(stream_of(a), condition.expand(shape).view(), a.expand(shape).view(),
                       b.expand(shape).view(), out.view());
  }
  Tape::record("where", {a, b}, out,
               [condition, from_a = a.shape(), from_b = b.shape()](const Tensor& gradient, const Needed&) {
                 const Tensor zero = Tensor::zeros({}, gradient.dtype(), gradient.device());
                 return Gradients{sum_to(where(condition, gradient, zero), from_a),
                                  sum_to(where(condition, zero, gradient), from_b)};
               });
  return out;
}

Tensor add(const Tensor& a, double b) {
  Tensor out = run_unary(UnaryOp::add_scalar, a, b);
  Tape::record("add_scalar", {a}, out,
               [](const Tensor& gradient, const Needed&) { return Gradients{gradient}; });
  return out;
}

Tensor multiply(const Tensor& a, double b) {
  Tensor out = run_unary(UnaryOp::multiply_scalar, a, b);
  Tape::record("multiply_scalar", {a}, out,
               [b](const Tensor& gradient, const Needed&) { return Gradients{multiply(gradient, b)}; });
  return out;
}

Tensor power(const Tensor& a, double exponent) {
  Tensor out = run_unary(UnaryOp::power_scalar, a, exponent);
  Tape::record("power", {a}, out, [a, exponent](const Tensor& gradient, const Needed&) {
    return Gradients{gradient * multiply(power(a, exponent - 1), exponent)};
  });
  return out;
}

Tensor negate(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::negate, a);
  Tape::record("negate", {a}, out,
               [](const Tensor& gradient, const Needed&) { return Gradients{negate(gradient)}; });
  return out;
}

Tensor absolute(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::absolute, a);
  Tape::record("absolute", {a}, out, [a](const Tensor& gradient, const Needed&) {
    return Gradients{gradient * run_unary(UnaryOp::sign, a)};
  });
  return out;
}

Tensor square(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::square, a);
  Tape::record("square", {a}, out,
               [a](const Tensor& gradient, const Needed&) { return Gradients{gradient * multiply(a, 2)}; });
  return out;
}

Tensor sqrt(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::sqrt, a);
  Tape::record("sqrt", {a}, out, [out](const Tensor& gradient, const Needed&) {
    return Gradients{gradient / multiply(out, 2)};
  });
  return out;
}

Tensor exp(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::exp, a);
  Tape::record("exp", {a}, out,
               [out](const Tensor& gradient, const Needed&) { return Gradients{gradient * out}; });
  return out;
}

Tensor log(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::log, a);
  Tape::record("log", {a}, out,
               [a](const Tensor& gradient, const Needed&) { return Gradients{gradient / a}; });
  return out;
}

Tensor tanh(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::tanh, a);
  Tape::record("tanh", {a}, out, [out](const Tensor& gradient, const Needed&) {
    return Gradients{run_binary(BinaryOp::tanh_backward, "tanh", gradient, out)};
  });
  return out;
}

Tensor sigmoid(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::sigmoid, a);
  Tape::record("sigmoid", {a}, out, [out](const Tensor& gradient, const Needed&) {
    return Gradients{run_binary(BinaryOp::sigmoid_backward, "sigmoid", gradient, out)};
  });
  return out;
}

Tensor relu(const Tensor& a) {
  Tensor out = run_unary(UnaryOp::relu, a);
  Tape::record("relu", {a}, out, [out](const Tensor& gradient, const Needed&) {
    return Gradients{run_binary(BinaryOp::relu_backward, "relu", gradient, out)};
  });
  return out;
}

Tensor leaky_relu(const Tensor& a, double slope) {
  Tensor out = run_unary(UnaryOp::leaky_relu, a, slope);
  Tape::record("leaky_relu", {a}, out, [a, slope](const Tensor& gradient, const Needed&) {
    const Tensor zero = Tensor::zeros({}, a.dtype(), a.device());
    return Gradients{where(less(a, zero), multiply(gradient, slope), gradient)};
  });
  return out;
}

Tensor equal(const Tensor& a, const Tensor& b) {
  const NoGrad pause;
  return run_binary(BinaryOp::equal, "equal", a, b, true);
}

Tensor less(const Tensor& a, const Tensor& b) {
  const NoGrad pause;
  return run_binary(BinaryOp::less, "less", a, b, true);
}

Tensor greater(const Tensor& a, const Tensor& b) {
  const NoGrad pause;
  return run_binary(BinaryOp::greater, "greater", a, b, true);
}

}  // namespace dw
