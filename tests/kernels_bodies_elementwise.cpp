// Elementwise kernels against double loops, over layouts, broadcasting and dtypes.
#include <algorithm>

#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

constexpr DType floating[] = {DType::f32, DType::f64, DType::bf16};
constexpr DType all_dtypes[] = {DType::f32, DType::f64, DType::bf16, DType::i64, DType::u8};

double apply(UnaryOp op, double x, double p) {
  switch (op) {
    case UnaryOp::negate:
      return -x;
    case UnaryOp::absolute:
      return std::abs(x);
    case UnaryOp::sign:
      return x > 0 ? 1 : x < 0 ? -1 : 0;
    case UnaryOp::square:
      return x * x;
    case UnaryOp::sqrt:
      return std::sqrt(x);
    case UnaryOp::exp:
      return std::exp(x);
    case UnaryOp::log:
      return std::log(x);
    case UnaryOp::tanh:
      return std::tanh(x);
    case UnaryOp::sigmoid:
      return 1 / (1 + std::exp(-x));
    case UnaryOp::relu:
      return x < 0 ? 0 : x;
    case UnaryOp::reciprocal:
      return 1 / x;
    case UnaryOp::add_scalar:
      return x + p;
    case UnaryOp::multiply_scalar:
      return x * p;
    case UnaryOp::power_scalar:
      return std::pow(x, p);
    case UnaryOp::leaky_relu:
      return x < 0 ? p * x : x;
  }
  return NAN;
}

double apply(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::add:
      return a + b;
    case BinaryOp::subtract:
      return a - b;
    case BinaryOp::multiply:
      return a * b;
    case BinaryOp::divide:
      return a / b;
    case BinaryOp::maximum:
      return std::isnan(a) || std::isnan(b) ? NAN : std::max(a, b);
    case BinaryOp::minimum:
      return std::isnan(a) || std::isnan(b) ? NAN : std::min(a, b);
    case BinaryOp::power:
      return std::pow(a, b);
    case BinaryOp::equal:
      return a == b;
    case BinaryOp::less:
      return a < b;
    case BinaryOp::greater:
      return a > b;
    case BinaryOp::relu_backward:
      return b > 0 ? a : 0;
    case BinaryOp::sigmoid_backward:
      return a * b * (1 - b);
    case BinaryOp::tanh_backward:
      return a * (1 - b * b);
  }
  return NAN;
}

std::vector<double> zeros(const Shape& shape) {
  return std::vector<double>(static_cast<size_t>(count_of(shape)));
}

void check_binary(Device device, BinaryOp op, DType dtype, const Shape& a_shape, const Shape& b_shape,
                  const Shape& shape, Layout layout) {
  const double low = op == BinaryOp::power ? 0.1 : -2;
  TestArray a(device, dtype, a_shape, some_values(count_of(a_shape), low, 2.5, 1), layout);
  TestArray b(device, dtype, b_shape, some_values(count_of(b_shape), low, 2.5, 2));
  TestArray out(device, dtype, shape, zeros(shape), layout);
  kernels(device).binary(current_stream(device), op, a.view(), b.view(), out.view());
  std::vector<double> expected = zeros(shape);
  const auto av = a.values(), bv = b.values();
  for (size_t i = 0; i < expected.size(); ++i)
    expected[i] = apply(op, av[broadcast_index(a_shape, shape, i)], bv[broadcast_index(b_shape, shape, i)]);
  CAPTURE(static_cast<int>(op));
  CAPTURE(name_of(dtype));
  check_close(out.values(), expected, 4 * tolerance_of(dtype));
  if (layout == Layout::gaps) CHECK(out.gaps_untouched());
}

TEST_CASE("bodies: every unary function matches a double loop") {
  for_each_device([](Device device) {
    for (const DType dtype : floating)
      for (int op = 0; op <= static_cast<int>(UnaryOp::leaky_relu); ++op) {
        const auto unary_op = static_cast<UnaryOp>(op);
        const bool positive =
            unary_op == UnaryOp::sqrt || unary_op == UnaryOp::log || unary_op == UnaryOp::power_scalar;
        const Layout layout = all_layouts[op % 4];
        const Shape shape{3, 5, 7, 4};
        TestArray in(device, dtype, shape, some_values(420, positive ? 0.1 : -3, 3), layout);
        TestArray out(device, dtype, shape, zeros(shape), all_layouts[op / 2 % 4]);
        kernels(device).unary(current_stream(device), unary_op, in.view(), out.view(), 0.75);
        std::vector<double> expected = in.values();
        for (double& x : expected) x = apply(unary_op, x, 0.75);
        CAPTURE(op);
        check_close(out.values(), expected, 4 * tolerance_of(dtype));
      }
  });
}

TEST_CASE("bodies: every binary operation matches a double loop, also broadcast") {
  for_each_device([](Device device) {
    for (int op = 0; op <= static_cast<int>(BinaryOp::tanh_backward); ++op) {
      const auto binary_op = static_cast<BinaryOp>(op);
      for (const DType dtype : floating)
        check_binary(device, binary_op, dtype, {2, 3, 5}, {2, 3, 5}, {2, 3, 5}, all_layouts[op % 4]);
      for (const Layout layout : all_layouts) {
        check_binary(device, binary_op, DType::f32, {4, 6, 5, 3}, {6, 1, 1}, {4, 6, 5, 3}, layout);
        check_binary(device, binary_op, DType::f32, {3, 1, 7}, {4, 1}, {3, 4, 7}, layout);
      }
      check_binary(device, binary_op, DType::f64, {}, {}, {}, Layout::row_major);
      check_binary(device, binary_op, DType::f32, {0, 3}, {3}, {0, 3}, Layout::row_major);
      check_binary(device, binary_op, DType::f32, {700, 64}, {64}, {700, 64}, Layout::row_major);
      check_binary(device, binary_op, DType::f32, {1}, {9001}, {9001}, Layout::row_major);
    }
  });
}

TEST_CASE("bodies: integer arithmetic and comparisons into u8") {
  for_each_device([](Device device) {
    const auto& table = kernels(device);
    const std::vector<double> left{1, -5, 7, 1L << 40}, right{1, 3, 2, 5};
    TestArray a(device, DType::i64, {4}, left), b(device, DType::i64, {4}, right);
    TestArray out(device, DType::i64, {4}, {0, 0, 0, 0}), flag(device, DType::u8, {4}, {9, 9, 9, 9});
    for (const BinaryOp op : {BinaryOp::add, BinaryOp::subtract, BinaryOp::multiply, BinaryOp::maximum,
                              BinaryOp::minimum, BinaryOp::less}) {
      table.binary(current_stream(device), op, a.view(), b.view(), out.view());
      std::vector<double> expected(4);
      for (size_t i = 0; i < 4; ++i) expected[i] = apply(op, left[i], right[i]);
      CHECK(out.values() == expected);
    }
    table.binary(current_stream(device), BinaryOp::equal, a.view(), b.view(), flag.view());
    CHECK(flag.values() == std::vector<double>{1, 0, 0, 0});
    CHECK_THROWS_AS(table.binary(current_stream(device), BinaryOp::divide, a.view(), b.view(), out.view()),
                    Error);
    CHECK_THROWS_AS(table.binary(current_stream(device), BinaryOp::add, a.view(), b.view(), flag.view()),
                    Error);
  });
}

TEST_CASE("bodies: maximum, minimum and relu keep a NaN") {
  for_each_device([](Device device) {
    const auto& table = kernels(device);
    TestArray a(device, DType::f32, {3}, {NAN, 1, NAN}), b(device, DType::f32, {3}, {1, NAN, NAN});
    TestArray out(device, DType::f32, {3}, {0, 0, 0});
    for (const BinaryOp op : {BinaryOp::maximum, BinaryOp::minimum}) {
      table.binary(current_stream(device), op, a.view(), b.view(), out.view());
      check_close(out.values(), {NAN, NAN, NAN}, 0);
    }
    table.unary(current_stream(device), UnaryOp::relu, a.view(), out.view(), 0);
    check_close(out.values(), {NAN, 1, NAN}, 0);
  });
}

TEST_CASE("bodies: copy converts between all dtypes and layouts") {
  for_each_device([](Device device) {
    for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{2, 5, 4, 3}})
      for (const DType from : all_dtypes)
        for (const DType to : all_dtypes)
          for (const Layout layout : all_layouts) {
            TestArray in(device, from, shape, some_values(120, 0, 200), layout);
            TestArray out(device, to, shape, zeros(shape),
                          layout == Layout::gaps ? Layout::gaps : Layout::channels_last);
            kernels(device).copy(current_stream(device), in.view(), out.view());
            std::vector<double> expected = in.values();
            if (!is_floating(to))
              for (double& x : expected) x = std::trunc(x);
            CAPTURE(name_of(from));
            CAPTURE(name_of(to));
            check_close(out.values(), expected, is_floating(to) ? tolerance_of(to) : 0);
            if (layout == Layout::gaps) CHECK(out.gaps_untouched());
          }
  });
}

TEST_CASE("bodies: copy between layouts whose innermost dimensions differ, in tiles and their rests") {
  for_each_device([](Device device) {
    for (const Shape& shape :
         {Shape{2, 33, 5, 7}, Shape{1, 70, 9, 10}, Shape{3, 5, 1, 4}, Shape{2, 64, 8, 4}})
      for (const bool from_channels_last : {true, false}) {
        const Layout last = Layout::channels_last, first = Layout::row_major;
        const int64_t count = shape[0] * shape[1] * shape[2] * shape[3];
        TestArray in(device, DType::f32, shape, some_values(count, -9, 9), from_channels_last ? last : first);
        TestArray out(device, DType::f32, shape, zeros(shape), from_channels_last ? first : last);
        kernels(device).copy(current_stream(device), in.view(), out.view());
        CHECK(out.values() == in.values());
      }
  });
}

TEST_CASE("bodies: fill, select and axpy") {
  for_each_device([](Device device) {
    const auto& table = kernels(device);
    const Stream stream = current_stream(device);
    const Shape shape{3, 4, 6};
    for (const DType dtype : all_dtypes)
      for (const Layout layout : all_layouts) {
        TestArray out(device, dtype, shape, zeros(shape), layout);
        table.fill(stream, out.view(), 3);
        CHECK(out.values() == std::vector<double>(72, 3.0));
        if (layout == Layout::gaps) CHECK(out.gaps_untouched());

        TestArray a(device, dtype, shape, some_values(72, 0, 100), layout);
        TestArray b(device, dtype, {6}, some_values(6, 0, 100));
        TestArray condition(device, DType::u8, {4, 1}, {0, 1, 2, 0});
        table.select(stream, condition.view(), a.view(), b.view(), out.view());
        const auto av = a.values(), bv = b.values(), found = out.values();
        for (size_t i = 0; i < 72; ++i) CHECK(found[i] == (i / 6 % 4 % 3 != 0 ? av[i] : bv[i % 6]));
      }
    for (const DType in_dtype : floating)
      for (const DType dtype : floating)
        for (const Layout layout : all_layouts) {
          TestArray in(device, in_dtype, shape, some_values(72, -1, 1), layout);
          TestArray out(device, dtype, shape, some_values(72, -1, 1, 2), layout);
          std::vector<double> expected = out.values();
          const auto added = in.values();
          for (size_t i = 0; i < 72; ++i) expected[i] += -0.5 * added[i];
          table.axpy(stream, -0.5, in.view(), out.view());
          check_close(out.values(), expected, tolerance_of(dtype));
        }
  });
}

TEST_CASE("bodies: elementwise in place, over many spans and any number of threads") {
  for_each_device([](Device device) {
    const Shape shape{3, 7, 41, 53};  // 45,633 elements, rows that no span is a multiple of
    for (const Layout layout : all_layouts) {
      check_thread_invariance([&] {
        TestArray a(device, DType::f32, shape, some_values(count_of(shape), -1, 1), layout);
        TestArray b(device, DType::f32, {7, 1, 53}, some_values(7 * 53, -1, 1, 2));
        const auto av = a.values(), bv = b.values();
        kernels(device).binary(current_stream(device), BinaryOp::add, a.view(), b.view(), a.view());
        std::vector<double> expected = zeros(shape);
        for (size_t i = 0; i < expected.size(); ++i)
          expected[i] = av[i] + bv[broadcast_index(b.shape(), shape, i)];
        check_close(a.values(), expected, 1e-6);
        return a.values();
      });
    }
  });
}

TEST_CASE("bodies: operands that do not fit are refused with their sizes") {
  for_each_device([](Device device) {
    TestArray a(device, DType::f32, {3}, {1, 2, 3}), b(device, DType::f32, {2}, {1, 2});
    TestArray out(device, DType::f32, {3}, {0, 0, 0});
    CHECK_THROWS_WITH_AS(
        kernels(device).binary(current_stream(device), BinaryOp::add, a.view(), b.view(), out.view()),
        "kernel operand has size 2 in dimension 0 where 3 (or 1) was expected", Error);
  });
}

}  // namespace
}  // namespace dw
