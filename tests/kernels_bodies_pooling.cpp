// Pooling against the definition, and its backward passes against scatter loops.
#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

/// Calls body(input index, output index, pixel) for every pair that a window joins, windows in order.
template <typename Body>
void for_each_pair(const PoolShape& s, const Body& body) {
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t oy = 0; oy < s.out_height(); ++oy)
      for (int64_t ox = 0; ox < s.out_width(); ++ox)
        for (int64_t y = oy * s.stride - s.padding; y < oy * s.stride - s.padding + s.kernel; ++y)
          for (int64_t x = ox * s.stride - s.padding; x < ox * s.stride - s.padding + s.kernel; ++x) {
            if (y < 0 || x < 0 || y >= s.height || x >= s.width) continue;
            for (int64_t c = 0; c < s.channels; ++c)
              body(static_cast<size_t>(((n * s.height + y) * s.width + x) * s.channels + c),
                   static_cast<size_t>(((n * s.out_height() + oy) * s.out_width() + ox) * s.channels + c),
                   static_cast<double>(y * s.width + x));
          }
}

const PoolShape shapes[] = {
    {2, 8, 6, 3, 2, 2, 0},
    {2, 7, 9, 5, 3, 2, 1},
    {1, 5, 5, 130, 3, 1, 1},
    {3, 4, 4, 64, 4, 4, 0},
    {1, 9, 8, 2, 2, 3, 0},
    {0, 4, 4, 3, 2, 2, 0},
    {1, 1, 1, 1, 1, 1, 0},
    {2, 6, 5, 70, 4, 3, 2},
    {2, 8, 6, 6, 2, 2, 0},
    {1, 7, 9, 6, 3, 3, 1},
    {1, 6, 3, 6, 3, 1, 1},
    {2, 5, 7, 13, 2, 3, 0},
    // Rows too long to be kept whole, and windows too wide.
    {1, 3, 70, 64, 3, 2, 1},
    {1, 3, 9, 1000, 2, 1, 0},
    {1, 4, 4, 1500, 3, 1, 1},
};

TEST_CASE("bodies: pooling and its gradients match plain loops") {
  for_each_device([](Device device) {
    const auto& table = kernels(device);
    const Stream stream = current_stream(device);
    for (PoolShape s : shapes)
      for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
        s.dtype = dtype;
        const int64_t inputs = s.batch * s.height * s.width * s.channels;
        const int64_t outputs = s.batch * s.out_height() * s.out_width() * s.channels;
        const std::vector<double> blank(static_cast<size_t>(outputs), 7),
            no_gradient(static_cast<size_t>(inputs));
        const TestArray in(device, dtype, {inputs}, some_values(inputs, -1, 1));
        const TestArray gradient(device, dtype, {outputs}, some_values(outputs, -1, 1, 2));
        const TestArray most(device, dtype, {outputs}, blank), mean(device, dtype, {outputs}, blank);
        const TestArray index(device, DType::i64, {outputs}, blank);
        const TestArray most_gradient(device, dtype, {inputs},
                                      std::vector<double>(static_cast<size_t>(inputs), 7));
        const TestArray mean_gradient(device, dtype, {inputs},
                                      std::vector<double>(static_cast<size_t>(inputs), 7));
        auto* winners = static_cast<int64_t*>(index.data());
        table.max_pool(stream, s, in.data(), most.data(), winners);
        table.average_pool(stream, s, in.data(), mean.data());
        table.max_pool_backward(stream, s, gradient.data(), winners, most_gradient.data());
        table.average_pool_backward(stream, s, gradient.data(), mean_gradient.data());

        const auto x = in.values(), dy = gradient.values();
        const double area = static_cast<double>(s.kernel * s.kernel);
        std::vector<double> best(blank.size(), -INFINITY), best_at(blank.size()), average(blank.size());
        std::vector<double> dx_most = no_gradient, dx_mean = no_gradient;
        for_each_pair(s, [&](size_t i, size_t o, double pixel) {
          average[o] += x[i] / area;
          dx_mean[i] += dy[o] / area;
          if (x[i] > best[o]) {
            best[o] = x[i];
            best_at[o] = pixel;
          }
        });
        for_each_pair(s, [&](size_t i, size_t o, double pixel) {
          if (pixel == best_at[o]) dx_most[i] += dy[o];
        });
        check_close(most.values(), best, 0);
        const TestArray alone(device, dtype, {outputs}, blank);
        table.max_pool(stream, s, in.data(), alone.data(), nullptr);
        CHECK(alone.values() == most.values());
        check_close(index.values(), best_at, 0);
        check_close(mean.values(), average, tolerance_of(dtype));
        check_close(most_gradient.values(), dx_most, 2 * tolerance_of(dtype));
        check_close(mean_gradient.values(), dx_mean, 2 * tolerance_of(dtype));
      }
  });
}

TEST_CASE("bodies: maximum pooling keeps a NaN and takes the first of equals") {
  for_each_device([](Device device) {
    const PoolShape s{1, 2, 2, 2, 2, 2, 0};
    const TestArray in(device, DType::f32, {8}, {1, 5, NAN, 5, 3, 5, NAN, 2});
    const TestArray out(device, DType::f32, {2}, {0, 0}), index(device, DType::i64, {2}, {9, 9});
    kernels(device).max_pool(current_stream(device), s, in.data(), out.data(),
                             static_cast<int64_t*>(index.data()));
    check_close(out.values(), {NAN, 5}, 0);
    CHECK(index.values() == std::vector<double>{1, 0});
    for (const int rotation : {0, 1, 2, 3}) {  // a NaN in every place, of a window of its own
      std::vector<double> values{1, 2, 3, 4};
      values[static_cast<size_t>(rotation)] = NAN;
      const TestArray one(device, DType::f32, {4}, values), most(device, DType::f32, {1}, {0});
      kernels(device).max_pool(current_stream(device), {1, 2, 2, 1, 2, 2, 0}, one.data(), most.data(),
                               nullptr);
      check_close(most.values(), {NAN}, 0);
    }
  });
}

TEST_CASE("bodies: a pooling window that does not fit is refused") {
  for_each_device([](Device device) {
    const PoolShape too_large{1, 2, 2, 1, 3, 1, 0}, too_padded{1, 8, 8, 1, 2, 2, 2};
    CHECK_THROWS_AS(kernels(device).average_pool(current_stream(device), too_large, nullptr, nullptr), Error);
    CHECK_THROWS_AS(kernels(device).average_pool(current_stream(device), too_padded, nullptr, nullptr),
                    Error);
  });
}

}  // namespace
}  // namespace dw
