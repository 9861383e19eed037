// Row indexing against plain loops, with bad indices and ties.
#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

TEST_CASE("bodies: argmax takes the first of equals, and NaN before any number") {
  for_each_device([](Device device) {
    for (const Layout layout : {Layout::row_major, Layout::reversed, Layout::gaps})
      for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
        TestArray in(device, dtype, {4, 3},
                     {1, 2, 2, -1, -3, -2, 0, NAN, NAN, -INFINITY, -INFINITY, -INFINITY}, layout);
        TestArray out(device, DType::i64, {4}, {9, 9, 9, 9});
        kernels(device).argmax(current_stream(device), in.view(), out.view());
        CHECK(out.values() == std::vector<double>{1, 0, 1, 0});
      }
    TestArray many(device, DType::f32, {5000, 10}, some_values(50000, -1, 1));
    TestArray out(device, DType::i64, {5000}, std::vector<double>(5000));
    kernels(device).argmax(current_stream(device), many.view(), out.view());
    const auto values = many.values(), found = out.values();
    for (size_t row = 0; row < 5000; ++row)
      for (size_t c = 0; c < 10; ++c)
        REQUIRE(values[10 * row + c] <= values[10 * row + static_cast<size_t>(found[row])]);
    TestArray none(device, DType::f32, {2, 0}, {}), two(device, DType::i64, {2}, {0, 0});
    CHECK_THROWS_AS(kernels(device).argmax(current_stream(device), none.view(), two.view()), Error);
  });
}

TEST_CASE("bodies: a score counts rows whose largest value is at their label, and adds to what was there") {
  for_each_device([](Device device) {
    for (const Layout layout : {Layout::row_major, Layout::reversed, Layout::gaps})
      for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
        TestArray logits(device, dtype, {4, 3}, {1, 2, 2, -1, -3, -2, 0, NAN, NAN, 5, 6, 7}, layout);
        TestArray labels(device, DType::i64, {4}, {1, 2, 1, 2}, layout);
        TestArray loss(device, dtype == DType::f64 ? DType::f64 : DType::f32, {1}, {0.75});
        TestArray sums(device, DType::f64, {3}, {10, 20, 30}, layout);
        const auto score = [&](const View& all) {
          kernels(device).add_score(current_stream(device), loss.view(), all, labels.view(), sums.view());
        };
        score(logits.view());
        CHECK(sums.values() == std::vector<double>{13, 23, 34});
        CHECK_THROWS_AS(score(labels.view()), Error);
      }
    // More rows than lanes.
    std::vector<double> values(1000 * 2), right(1000);
    for (size_t row = 0; row < 1000; ++row) {
      values[2 * row + row % 2] = 1;
      right[row] = row % 5 == 0 ? 1 - static_cast<double>(row % 2) : static_cast<double>(row % 2);
    }
    TestArray logits(device, DType::f32, {1000, 2}, values), labels(device, DType::i64, {1000}, right);
    TestArray loss(device, DType::f32, {1}, {0.5}), sums(device, DType::f64, {3}, {0, 0, 0});
    kernels(device).add_score(current_stream(device), loss.view(), logits.view(), labels.view(), sums.view());
    CHECK(sums.values() == std::vector<double>{500, 800, 1000});
  });
}

TEST_CASE("bodies: gather_rows picks rows in every layout") {
  for_each_device([](Device device) {
    const std::vector<double> picks{4, 0, 4, 2};
    for (const Layout layout : all_layouts)
      for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::u8}) {
        TestArray table(device, dtype, {5, 3, 2, 2}, some_values(60, 0, 200), layout);
        TestArray index(device, DType::i64, {4}, picks, layout);
        TestArray out(device, dtype, {4, 3, 2, 2}, std::vector<double>(48), Layout::channels_last);
        kernels(device).gather_rows(current_stream(device), table.view(), index.view(), out.view());
        const auto from = table.values(), found = out.values();
        for (size_t i = 0; i < 48; ++i)
          CHECK(found[i] == from[static_cast<size_t>(picks[i / 12]) * 12 + i % 12]);
      }
    TestArray line(device, DType::f32, {3}, {5, 6, 7}), index(device, DType::i64, {2}, {2, 0});
    TestArray out(device, DType::f32, {2}, {0, 0});
    kernels(device).gather_rows(current_stream(device), line.view(), index.view(), out.view());
    CHECK(out.values() == std::vector<double>{7, 5});
  });
}

TEST_CASE("bodies: scatter_add_rows adds repeated rows in order") {
  for_each_device([](Device device) {
    const Shape shape{300, 37};
    check_thread_invariance([&] {
      std::vector<double> places(300);
      for (size_t i = 0; i < 300; ++i) places[i] = static_cast<double>(i * i % 7);
      TestArray in(device, DType::f32, shape, some_values(300 * 37, -1, 1), Layout::reversed);
      TestArray index(device, DType::i64, {300}, places);
      TestArray out(device, DType::f32, {7, 37}, some_values(7 * 37, -1, 1, 2));
      std::vector<float> expected;
      for (const double x : out.values()) expected.push_back(static_cast<float>(x));
      const auto added = in.values();
      for (size_t i = 0; i < 300; ++i)
        for (size_t c = 0; c < 37; ++c)
          expected[static_cast<size_t>(places[i]) * 37 + c] += static_cast<float>(added[i * 37 + c]);
      kernels(device).scatter_add_rows(current_stream(device), in.view(), index.view(), out.view());
      const auto found = out.values();
      for (size_t i = 0; i < found.size(); ++i) REQUIRE(static_cast<float>(found[i]) == expected[i]);
      return found;
    });
  });
}

TEST_CASE("bodies: an index outside the table is an error on the CPU and never read") {
  for_each_device([](Device device) {
    for (const double bad : {-1.0, 3.0, 1e15}) {
      TestArray table(device, DType::f32, {3, 2}, {1, 2, 3, 4, 5, 6});
      TestArray index(device, DType::i64, {2}, {1, bad});
      TestArray rows(device, DType::f32, {2, 2}, {9, 9, 9, 9});
      if (device.type == DeviceType::cpu) {
        CHECK_THROWS_AS(
            kernels(device).gather_rows(current_stream(device), table.view(), index.view(), rows.view()),
            Error);
        CHECK_THROWS_AS(
            kernels(device).scatter_add_rows(current_stream(device), rows.view(), index.view(), table.view()),
            Error);
      } else {
        kernels(device).gather_rows(current_stream(device), table.view(), index.view(), rows.view());
        CHECK(rows.values() == std::vector<double>{3, 4, 0, 0});
        kernels(device).scatter_add_rows(current_stream(device), rows.view(), index.view(), table.view());
        CHECK(table.values() == std::vector<double>{1, 2, 6, 8, 5, 6});
      }
    }
  });
}

}  // namespace
}  // namespace dw
