// Elementwise operations over broadcast strided views. One kernel per element type: the operation is chosen
// once per run (a uniform branch on CUDA), which keeps the binary and the compile time small.
// Floor: the bytes of each view once, a broadcast element once (axpy: the output twice).
#include <cmath>

#include "kernels/bodies/element.h"
#include "kernels/bodies/transposition.h"
#include "kernels/table.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

template <typename A, typename Body>
HD void with_operation(UnaryOp op, A p, const Body& body) {
  switch (op) {
    case UnaryOp::negate:
      return body([](A x) { return -x; });
    case UnaryOp::absolute:
      return body([](A x) { return std::fabs(x); });
    case UnaryOp::sign:
      return body([](A x) { return static_cast<A>(x > 0) - static_cast<A>(x < 0); });
    case UnaryOp::square:
      return body([](A x) { return x * x; });
    case UnaryOp::sqrt:
      return body([](A x) { return std::sqrt(x); });
    case UnaryOp::exp:
      return body([](A x) { return std::exp(x); });
    case UnaryOp::log:
      return body([](A x) { return std::log(x); });
    case UnaryOp::tanh:
      return body([](A x) { return std::tanh(x); });
    case UnaryOp::sigmoid:
      return body([](A x) { return A(1) / (A(1) + std::exp(-x)); });
    case UnaryOp::relu:  // a NaN stays a NaN
      return body([](A x) { return x < 0 ? A(0) : x; });
    case UnaryOp::reciprocal:
      return body([](A x) { return A(1) / x; });
    case UnaryOp::add_scalar:
      return body([p](A x) { return x + p; });
    case UnaryOp::multiply_scalar:
      return body([p](A x) { return x * p; });
    case UnaryOp::power_scalar:
      return body([p](A x) { return std::pow(x, p); });
    case UnaryOp::leaky_relu:
      return body([p](A x) { return x < 0 ? p * x : x; });
  }
}

constexpr bool is_comparison(BinaryOp op) {
  return op == BinaryOp::equal || op == BinaryOp::less || op == BinaryOp::greater;
}

/// Operations that integers have too.
template <typename A, typename Body>
HD void with_operation(BinaryOp op, const Body& body) {
  switch (op) {
    case BinaryOp::add:
      return body([](A x, A y) { return x + y; });
    case BinaryOp::subtract:
      return body([](A x, A y) { return x - y; });
    case BinaryOp::multiply:
      return body([](A x, A y) { return x * y; });
    case BinaryOp::maximum:  // either NaN gives a NaN
      return body([](A x, A y) { return ((x > y) | (x != x)) ? x : y; });
    case BinaryOp::minimum:
      return body([](A x, A y) { return ((x < y) | (x != x)) ? x : y; });
    default:
      break;
  }
  if constexpr (std::is_floating_point_v<A>) {
    switch (op) {
      case BinaryOp::divide:
        return body([](A x, A y) { return x / y; });
      case BinaryOp::power:
        return body([](A x, A y) { return std::pow(x, y); });
      case BinaryOp::relu_backward:
        return body([](A gradient, A output) { return output > 0 ? gradient : A(0); });
      case BinaryOp::sigmoid_backward:
        return body([](A gradient, A output) { return gradient * output * (A(1) - output); });
      case BinaryOp::tanh_backward:
        return body([](A gradient, A output) { return gradient * (A(1) - output * output); });
      default:
        break;
    }
  }
}

template <typename A, typename Body>
HD void with_comparison(BinaryOp op, const Body& body) {
  if (op == BinaryOp::equal) return body([](A x, A y) { return x == y; });
  if (op == BinaryOp::less) return body([](A x, A y) { return x < y; });
  return body([](A x, A y) { return x > y; });
}

template <typename T>
struct FillBody {
  T* out;
  T value;
  HD void operator()(const Run<1>& run) const {
    T* to = out + run.offset[0];
    if (run.stride[0] == 1)
      for (int64_t i = 0; i < run.count; ++i) to[i] = value;
    else
      for (int64_t i = 0; i < run.count; ++i) to[i * run.stride[0]] = value;
  }
};

template <typename Out, typename In>
HD constexpr Out converted(In x) {
  if constexpr (std::is_same_v<In, Out>)
    return x;
  else
    return store<Out>(load(x));
}

template <typename In>
struct CopyBody {
  void* out;
  DType out_dtype;
  const In* in;
  HD void operator()(const Run<2>& run) const {
    with_type(out_dtype, [&](auto zero) {
      using Out = decltype(zero);
      map_run(run, static_cast<Out*>(out), in, [](In x) { return converted<Out>(x); });
    });
  }
};

template <typename In>
struct TransposeBody {
  Transposition transposition;
  void* out;
  DType out_dtype;
  const In* in;
  void operator()(int64_t tile) const {
    with_type(out_dtype, [&](auto zero) {
      using Out = decltype(zero);
      transposition.map(tile, static_cast<Out*>(out), in, [](In x) { return converted<Out>(x); });
    });
  }
};

template <typename T>
struct UnaryBody {
  UnaryOp op;
  T* out;
  const T* in;
  Arithmetic<T> parameter;
  HD void operator()(const Run<2>& run) const {
    with_operation(op, parameter,
                   [&](auto f) { map_run(run, out, in, [f](T x) { return store<T>(f(load(x))); }); });
  }
};

template <typename T>
struct BinaryBody {
  BinaryOp op;
  T* out;
  const T* a;
  const T* b;
  HD void operator()(const Run<3>& run) const {
    with_operation<Arithmetic<T>>(op, [&](auto f) {
      map_run(run, out, a, b, [f](T x, T y) { return store<T>(f(load(x), load(y))); });
    });
  }
};

/// Out is T or u8.
template <typename T, typename Out>
struct ComparisonBody {
  BinaryOp op;
  Out* out;
  const T* a;
  const T* b;
  HD void operator()(const Run<3>& run) const {
    with_comparison<Arithmetic<T>>(op, [&](auto f) {
      map_run(run, out, a, b, [f](T x, T y) { return store<Out>(static_cast<int>(f(load(x), load(y)))); });
    });
  }
};

template <typename T>
struct SelectBody {
  T* out;
  const uint8_t* condition;
  const T* a;
  const T* b;
  HD void operator()(const Run<4>& run) const {
    const int64_t *s = run.stride, *o = run.offset;
    for (int64_t i = 0; i < run.count; ++i)
      out[o[0] + i * s[0]] = condition[o[1] + i * s[1]] != 0 ? a[o[2] + i * s[2]] : b[o[3] + i * s[3]];
  }
};

template <typename Out>
struct AxpyBody {
  Out* out;
  const void* in;
  DType in_dtype;
  Arithmetic<Out> scale;
  HD void operator()(const Run<2>& run) const {
    with_type(in_dtype, [&](auto zero) {
      using In = decltype(zero);
      add_scaled(run, out + run.offset[0], static_cast<const In*>(in) + run.offset[1]);
    });
  }

 private:
  template <typename In>
  HD void add_scaled(const Run<2>& run, Out* to, const In* from) const {
    using A = Arithmetic<Out>;
    const A factor = scale;
    const int64_t s0 = run.stride[0], s1 = run.stride[1];
    if (s0 == 1 && s1 == 1) {
#pragma GCC ivdep
      for (int64_t i = 0; i < run.count; ++i)
        to[i] = store<Out>(load(to[i]) + factor * static_cast<A>(load(from[i])));
    } else {
      for (int64_t i = 0; i < run.count; ++i)
        to[i * s0] = store<Out>(load(to[i * s0]) + factor * static_cast<A>(load(from[i * s1])));
    }
  }
};

void fill(Stream stream, const View& out, double value) {
  dispatch_any(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each_run(stream, make_loop(out), FillBody<T>{static_cast<T*>(out.data), store<T>(value)});
  });
}

void copy(Stream stream, const View& in, const View& out) {
  const Loop<2> loop = make_loop(out, in);
  dispatch_any(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto* from = static_cast<const T*>(in.data);
    if constexpr (!on_cuda)
      if (const auto transposition = Transposition::of(loop); transposition.has_value())
        return for_each_index(stream, transposition->tiles(),
                              TransposeBody<T>{*transposition, out.data, out.dtype, from},
                              transposition->tile_elements());
    for_each_run(stream, loop, CopyBody<T>{out.data, out.dtype, from});
  });
}

void unary(Stream stream, UnaryOp op, const View& in, const View& out, double parameter) {
  require(in.dtype == out.dtype, "elementwise function from {} to {}: the dtypes must be equal",
          name_of(in.dtype), name_of(out.dtype));
  dispatch_floating(in.dtype, "elementwise function", [&](auto zero) {
    using T = decltype(zero);
    for_each_run(stream, make_loop(out, in),
                 UnaryBody<T>{op, static_cast<T*>(out.data), static_cast<const T*>(in.data),
                              static_cast<Arithmetic<T>>(parameter)});
  });
}

void binary(Stream stream, BinaryOp op, const View& a, const View& b, const View& out) {
  require(a.dtype == b.dtype, "elementwise operation on {} and {}: the dtypes must be equal",
          name_of(a.dtype), name_of(b.dtype));
  const auto loop = make_loop(out, a, b);
  if (is_comparison(op)) {
    require(out.dtype == a.dtype || out.dtype == DType::u8, "comparison of {} into {}: expected {} or u8",
            name_of(a.dtype), name_of(out.dtype), name_of(a.dtype));
    dispatch_any(a.dtype, [&](auto zero) {
      using T = decltype(zero);
      const auto *left = static_cast<const T*>(a.data), *right = static_cast<const T*>(b.data);
      if (out.dtype == a.dtype)
        for_each_run(stream, loop, ComparisonBody<T, T>{op, static_cast<T*>(out.data), left, right});
      else
        for_each_run(stream, loop,
                     ComparisonBody<T, uint8_t>{op, static_cast<uint8_t*>(out.data), left, right});
    });
    return;
  }
  require(a.dtype == out.dtype, "elementwise operation from {} to {}: the dtypes must be equal",
          name_of(a.dtype), name_of(out.dtype));
  const bool integers_too = op == BinaryOp::add || op == BinaryOp::subtract || op == BinaryOp::multiply ||
                            op == BinaryOp::maximum || op == BinaryOp::minimum;
  require(integers_too || is_floating(a.dtype), "elementwise operation expects a floating dtype, found {}",
          name_of(a.dtype));
  dispatch_any(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each_run(stream, loop,
                 BinaryBody<T>{op, static_cast<T*>(out.data), static_cast<const T*>(a.data),
                               static_cast<const T*>(b.data)});
  });
}

void select(Stream stream, const View& condition, const View& a, const View& b, const View& out) {
  require(condition.dtype == DType::u8, "select expects a u8 condition, found {}", name_of(condition.dtype));
  require(a.dtype == b.dtype && a.dtype == out.dtype,
          "select between {} and {} into {}: dtypes must be equal", name_of(a.dtype), name_of(b.dtype),
          name_of(out.dtype));
  dispatch_any(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each_run(stream, make_loop(out, condition, a, b),
                 SelectBody<T>{static_cast<T*>(out.data), static_cast<const uint8_t*>(condition.data),
                               static_cast<const T*>(a.data), static_cast<const T*>(b.data)});
  });
}

void axpy(Stream stream, double scale, const View& in, const View& out) {
  require(is_floating(in.dtype), "axpy expects a floating dtype, found {}", name_of(in.dtype));
  dispatch_floating(out.dtype, "axpy", [&](auto zero) {
    using T = decltype(zero);
    for_each_run(
        stream, make_loop(out, in),
        AxpyBody<T>{static_cast<T*>(out.data), in.data, in.dtype, static_cast<Arithmetic<T>>(scale)});
  });
}

}  // namespace

void add_elementwise(KernelTable& table) {
  table.fill = fill;
  table.copy = copy;
  table.unary = unary;
  table.binary = binary;
  table.select = select;
  table.axpy = axpy;
}

}  // namespace dw::DEEPWATER_BACKEND
