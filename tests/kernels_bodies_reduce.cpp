// Reductions against double loops: every subset of dimensions, layouts, dtypes, NaN, emptiness.
#include <algorithm>

#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

std::vector<double> reduce_loop(ReduceOp op, const TestArray& in, const Shape& out_shape) {
  const double start = op == ReduceOp::sum ? 0 : op == ReduceOp::maximum ? -INFINITY : INFINITY;
  std::vector<double> result(static_cast<size_t>(count_of(out_shape)), start);
  const auto values = in.values();
  for (size_t i = 0; i < values.size(); ++i) {
    double& to = result[broadcast_index(out_shape, in.shape(), i)];
    const double x = values[i];
    if (op == ReduceOp::sum)
      to += x;
    else if (std::isnan(x) || std::isnan(to))
      to = NAN;
    else
      to = op == ReduceOp::maximum ? std::max(to, x) : std::min(to, x);
  }
  return result;
}

void check_reduce(Device device, ReduceOp op, const TestArray& in, const Shape& out_shape, DType out_dtype,
                  Layout out_layout = Layout::row_major) {
  TestArray out(device, out_dtype, out_shape,
                std::vector<double>(static_cast<size_t>(count_of(out_shape)), 5), out_layout);
  kernels(device).reduce(current_stream(device), op, in.view(), out.view());
  CAPTURE(out_shape.size());
  CAPTURE(in.shape().size());
  check_close(out.values(), reduce_loop(op, in, out_shape), tolerance_of(out_dtype));
}

constexpr ReduceOp all_ops[] = {ReduceOp::sum, ReduceOp::maximum, ReduceOp::minimum};

TEST_CASE("bodies: reduction over every subset of dimensions in every layout") {
  for_each_device([](Device device) {
    const Shape shape{3, 5, 4, 6};
    for (const Layout layout : all_layouts)
      for (const ReduceOp op : all_ops) {
        TestArray in(device, DType::f32, shape, some_values(360, -2, 3), layout);
        for (size_t subset = 0; subset < 16; ++subset) {
          Shape out_shape = shape;
          for (size_t d = 0; d < 4; ++d)
            if ((subset >> d & 1) != 0) out_shape[d] = 1;
          check_reduce(device, op, in, out_shape, DType::f32, layout);
        }
        check_reduce(device, op, in, {6}, DType::f32);
        check_reduce(device, op, in, {}, DType::f32);
      }
  });
}

TEST_CASE("bodies: reduction of long stretches, tall columns and strided rows") {
  for_each_device([](Device device) {
    for (const ReduceOp op : all_ops) {
      for (const Layout layout : all_layouts) {
        TestArray images(device, DType::f32, {3, 19, 33, 37}, some_values(3 * 19 * 33 * 37, -1, 1), layout);
        for (const Shape& out :
             {Shape{1, 1, 1, 1}, {1, 19, 1, 1}, {3, 19, 1, 1}, {3, 1, 33, 37}, {3, 1, 1, 1}})
          check_reduce(device, op, images, out, DType::f32);
      }
      TestArray wide(device, DType::f64, {5, 20011}, some_values(5 * 20011, -1, 1));
      check_reduce(device, op, wide, {5, 1}, DType::f64);
      check_reduce(device, op, wide, {1, 20011}, DType::f64);
      check_reduce(device, op, wide, {1, 1}, DType::f64);
      TestArray tall(device, DType::f32, {30011, 3}, some_values(3 * 30011, -1, 1));
      check_reduce(device, op, tall, {1, 3}, DType::f32);
      check_reduce(device, op, tall, {3}, DType::f32);
    }
  });
}

TEST_CASE("bodies: reduction of bf16 and integers, also into another dtype") {
  for_each_device([](Device device) {
    for (const ReduceOp op : all_ops) {
      TestArray halves(device, DType::bf16, {40, 30}, some_values(1200, -1, 1));
      check_reduce(device, op, halves, {1, 30}, DType::bf16);
      check_reduce(device, op, halves, {1, 30}, DType::f32);
      TestArray counts(device, DType::i64, {40, 30}, some_values(1200, -1000, 1000));
      check_reduce(device, op, counts, {40, 1}, DType::i64);
      TestArray flags(device, DType::u8, {40, 30}, some_values(1200, 0, 200));
      check_reduce(device, op, flags, {1, 1}, DType::i64);
      check_reduce(device, op, flags, {1, 1}, DType::f32);
    }
  });
}

TEST_CASE("bodies: reduction of scalars, of nothing, and of NaN") {
  for_each_device([](Device device) {
    TestArray scalar(device, DType::f32, {}, {2.5});
    check_reduce(device, ReduceOp::sum, scalar, {}, DType::f32);
    TestArray empty(device, DType::f32, {0, 3}, {});
    check_reduce(device, ReduceOp::sum, empty, {1, 3}, DType::f32);
    check_reduce(device, ReduceOp::maximum, empty, {0, 1}, DType::f32);
    TestArray out(device, DType::f32, {1, 3}, {0, 0, 0});
    CHECK_THROWS_AS(
        kernels(device).reduce(current_stream(device), ReduceOp::maximum, empty.view(), out.view()), Error);
    for (const int64_t at : {0, 1, 255, 256, 8191, 8192, 19999}) {
      std::vector<double> values = some_values(20000, -1, 1);
      values[static_cast<size_t>(at)] = NAN;
      TestArray in(device, DType::f32, {20000}, values);
      check_reduce(device, ReduceOp::maximum, in, {1}, DType::f32);
      check_reduce(device, ReduceOp::minimum, in, {1}, DType::f32);
    }
    TestArray low(device, DType::f32, {2}, {-INFINITY, -INFINITY});
    check_reduce(device, ReduceOp::maximum, low, {1}, DType::f32);
  });
}

TEST_CASE("bodies: a reduction has the same bits for any number of threads") {
  for_each_device([](Device device) {
    for (const Layout layout : {Layout::row_major, Layout::channels_last})
      for (const Shape& out_shape : {Shape{1, 1, 1}, {1, 40, 1}, {17, 1, 1}, {1, 1, 300}})
        check_thread_invariance([&] {
          TestArray in(device, DType::f32, {17, 40, 300}, some_values(17 * 40 * 300, -1, 1), layout);
          TestArray out(device, DType::f32, out_shape,
                        std::vector<double>(static_cast<size_t>(count_of(out_shape))));
          kernels(device).reduce(current_stream(device), ReduceOp::sum, in.view(), out.view());
          return out.values();
        });
  });
}

TEST_CASE("bodies: sums of f32 do not lose small terms") {
  for_each_device([](Device device) {
    TestArray in(device, DType::f32, {1 << 22}, std::vector<double>(1 << 22, 0.1));
    TestArray out(device, DType::f32, {1}, {0});
    kernels(device).reduce(current_stream(device), ReduceOp::sum, in.view(), out.view());
    CHECK(out.values()[0] == doctest::Approx((1 << 22) * static_cast<double>(0.1F)).epsilon(1e-7));
  });
}

TEST_CASE("bodies: all_finite finds one NaN or infinity anywhere") {
  for_each_device([](Device device) {
    TestArray out(device, DType::u8, {1}, {9});
    const auto finite = [&](const std::vector<double>& values, DType dtype) {
      TestArray in(device, dtype, {static_cast<int64_t>(values.size())}, values);
      kernels(device).all_finite(current_stream(device), in.view(), out.view());
      return out.values()[0];
    };
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      CHECK(finite({}, dtype) == 1);
      CHECK(finite({0}, dtype) == 1);
      CHECK(finite({NAN}, dtype) == 0);
      for (const size_t at : {size_t{0}, size_t{300}, size_t{9999}, size_t{39999}})
        for (const double bad : {double{NAN}, double{INFINITY}, double{-INFINITY}}) {
          std::vector<double> values(40000, 3e30);
          CHECK(finite(values, dtype) == 1);
          values[at] = bad;
          CHECK(finite(values, dtype) == 0);
        }
    }
  });
}

}  // namespace
}  // namespace dw
