// Convolution on the CPU against the definition, written as loops in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cpu/convolution_patches.h"
#include "kernels/graph.h"
#include "kernels/table.h"

namespace {

using namespace dw;
using Values = std::vector<double>;

Values random_values(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Values values(static_cast<size_t>(count));
  for (double& value : values) value = static_cast<double>(normal(generator));
  return values;
}

int64_t in_count(const ConvShape& s) {
  return s.batch * s.in_height * s.in_width * s.in_channels;
}
int64_t out_count(const ConvShape& s) {
  return s.batch * s.out_height() * s.out_width() * s.out_channels;
}
int64_t weight_count(const ConvShape& s) {
  return s.out_channels * s.kernel_height * s.kernel_width * (s.in_channels / s.groups);
}

/// Calls visit(in, weight, out) with the three offsets of every product in the convolution.
template <typename Visit>
void for_each_product(const ConvShape& s, Visit&& visit) {
  const int64_t inputs = s.in_channels / s.groups, outputs = s.out_channels / s.groups;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t y = 0; y < s.out_height(); ++y)
      for (int64_t x = 0; x < s.out_width(); ++x)
        for (int64_t o = 0; o < s.out_channels; ++o)
          for (int64_t ky = 0; ky < s.kernel_height; ++ky)
            for (int64_t kx = 0; kx < s.kernel_width; ++kx)
              for (int64_t i = 0; i < inputs; ++i) {
                const int64_t in_y = y * s.stride - s.padding + ky * s.dilation;
                const int64_t in_x = x * s.stride - s.padding + kx * s.dilation;
                if (in_y < 0 || in_y >= s.in_height || in_x < 0 || in_x >= s.in_width) continue;
                const int64_t channel = o / outputs * inputs + i;
                visit(
                    static_cast<size_t>(((n * s.in_height + in_y) * s.in_width + in_x) * s.in_channels +
                                        channel),
                    static_cast<size_t>(((o * s.kernel_height + ky) * s.kernel_width + kx) * inputs + i),
                    static_cast<size_t>(((n * s.out_height() + y) * s.out_width() + x) * s.out_channels + o));
              }
}

struct Passes {
  Values out, in_gradient, weight_gradient;
};

Passes expected(const ConvShape& s, const Values& in, const Values& weight, const Values& out_gradient) {
  Passes passes{Values(out_gradient.size()), Values(in.size()), Values(weight.size())};
  for_each_product(s, [&](size_t i, size_t w, size_t o) {
    passes.out[o] += in[i] * weight[w];
    passes.in_gradient[i] += out_gradient[o] * weight[w];
    passes.weight_gradient[w] += out_gradient[o] * in[i];
  });
  return passes;
}

// `kept`: forward in a graph with constant filters, replayed twice.
enum class By : uint8_t { table, patches, kept };

template <typename T, By by = By::table>
Passes computed(const ConvShape& s, const Values& in, const Values& weight, const Values& out_gradient) {
  const auto as_t = [](const Values& values) { return std::vector<T>(values.begin(), values.end()); };
  const auto as_double = [](const std::vector<T>& values) { return Values(values.begin(), values.end()); };
  const std::vector<T> x = as_t(in), w = as_t(weight), g = as_t(out_gradient);
  std::vector<T> y(g.size(), T{99}), dx(x.size(), T{99}), dw(w.size(), T{99});
  const Stream stream{cpu, nullptr};
  if constexpr (by == By::patches) {
    cpu_backend::patches_forward(s, x.data(), w.data(), y.data());
    cpu_backend::patches_backward_data(s, g.data(), w.data(), dx.data());
    cpu_backend::patches_backward_weight(s, x.data(), g.data(), dw.data());
  } else {
    const auto forward = [&] { kernels(cpu).conv_forward(stream, s, x.data(), w.data(), y.data()); };
    if constexpr (by == By::kept) {
      const Graph graph = Graph::capture(cpu, forward, {.constant_filters = true});
      graph.replay();
      std::fill(y.begin(), y.end(), T{99});
      graph.replay();
    } else {
      forward();
    }
    kernels(cpu).conv_backward_data(stream, s, g.data(), w.data(), dx.data());
    kernels(cpu).conv_backward_weight(stream, s, x.data(), g.data(), dw.data());
  }
  return {as_double(y), as_double(dx), as_double(dw)};
}

/// Largest difference relative to the root mean square of what is expected.
double relative_error(const Values& found, const Values& wanted) {
  double largest = 0, squares = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double difference = std::abs(found[i] - wanted[i]);
    largest = difference <= largest ? largest : difference;
    squares += wanted[i] * wanted[i];
  }
  return largest / std::sqrt(squares / static_cast<double>(wanted.size()) + 1e-30);
}

// batch, in_channels, in_height, in_width, out_channels, kernel_height, kernel_width, stride, padding,
// dilation, groups
const std::vector<ConvShape> shapes = {
    {2, 3, 8, 8, 16, 3, 3, 1, 1, 1, 1},
    {5, 3, 9, 7, 16, 3, 3, 1, 1, 1, 1},
    {2, 3, 32, 32, 16, 3, 3, 1, 1, 1, 1},
    {2, 3, 8, 8, 64, 3, 3, 1, 1, 1, 1},
    {3, 3, 11, 10, 32, 7, 7, 2, 3, 1, 1},
    {2, 1, 12, 12, 8, 5, 5, 1, 0, 1, 1},
    {3, 1, 9, 9, 16, 3, 3, 2, 1, 1, 1},
    {3, 3, 9, 9, 48, 3, 3, 1, 0, 2, 1},
    {3, 4, 9, 9, 8, 3, 3, 1, 2, 1, 1},
    {4, 16, 8, 8, 16, 3, 3, 1, 1, 1, 1},
    {2, 16, 8, 8, 32, 3, 3, 2, 1, 1, 1},
    {2, 16, 8, 8, 32, 1, 1, 2, 0, 1, 1},
    {2, 32, 7, 5, 64, 3, 3, 2, 1, 1, 1},
    {1, 64, 8, 8, 64, 3, 3, 1, 1, 1, 1},
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1},
    {1, 5, 7, 9, 3, 3, 3, 1, 1, 1, 1},
    {3, 17, 9, 6, 33, 3, 3, 2, 1, 1, 1},
    {2, 33, 7, 7, 17, 1, 1, 1, 0, 1, 1},
    {2, 16, 10, 9, 5, 3, 2, 3, 2, 1, 1},
    {2, 5, 13, 11, 16, 2, 5, 1, 3, 1, 1},
    {2, 8, 11, 12, 8, 3, 3, 1, 2, 2, 1},
    {2, 17, 12, 11, 3, 3, 3, 2, 3, 2, 1},
    {2, 16, 8, 8, 16, 3, 3, 1, 1, 1, 16},
    {3, 5, 9, 9, 5, 3, 3, 2, 1, 1, 5},
    {2, 6, 7, 8, 12, 3, 3, 1, 1, 1, 3},
    {2, 33, 6, 6, 33, 3, 3, 1, 1, 2, 33},
    {2, 32, 8, 8, 64, 3, 3, 2, 1, 1, 4},
    {1, 8, 5, 5, 16, 5, 5, 1, 0, 1, 8},
    {2, 3, 8, 8, 16, 1, 1, 1, 3, 1, 1},
    {40, 3, 5, 5, 16, 3, 3, 1, 1, 1, 1},
    // Enough channels for oneDNN's own layout of activations.
    {2, 64, 9, 7, 72, 3, 3, 2, 1, 1, 1},
    {1, 65, 6, 6, 64, 5, 3, 1, 1, 1, 1},
    // Large enough for Winograd filtering, tiles cut off at the border included.
    {8, 16, 8, 8, 16, 3, 3, 1, 1, 1, 1},
    {9, 32, 7, 10, 16, 3, 3, 1, 1, 1, 1},
    {5, 16, 13, 11, 48, 3, 3, 1, 0, 1, 1},
    {6, 48, 9, 9, 32, 3, 3, 1, 2, 1, 1},
    {40, 16, 5, 6, 16, 3, 3, 1, 1, 1, 1},
    {70, 64, 3, 3, 64, 3, 3, 1, 1, 1, 1},
    // Two to four tiles, whose filters are transformed where they are multiplied.
    {1, 48, 8, 7, 80, 3, 3, 1, 1, 1, 1},
    {2, 80, 4, 4, 64, 3, 3, 1, 1, 1, 1},
    {3, 32, 6, 6, 48, 3, 3, 1, 0, 1, 1},
    {1, 32, 2, 6, 16, 3, 3, 1, 2, 1, 1},
    // Few tiles, whose threads share filters, and some, whose threads share what is transformed.
    {1, 80, 12, 13, 64, 3, 3, 1, 1, 1, 1},
    {2, 144, 9, 8, 48, 3, 3, 1, 1, 1, 1},
    {1, 48, 4, 7, 32, 3, 3, 1, 1, 1, 1},
    {1, 32, 11, 4, 48, 3, 3, 1, 1, 1, 1},
    {4, 32, 4, 4, 32, 3, 3, 1, 1, 1, 1},
    {36, 96, 4, 3, 96, 3, 3, 1, 1, 1, 1},
    {3, 80, 19, 18, 64, 3, 3, 2, 1, 1, 1},
    {15, 32, 17, 16, 80, 3, 3, 2, 1, 1, 1},
    {10, 64, 18, 23, 32, 3, 3, 2, 1, 1, 1},
    {16, 64, 17, 16, 64, 3, 3, 2, 1, 1, 1},
    // Outputs of a block of tiles, and columns of the sums of filters' gradient, in several stretches.
    {6, 144, 9, 8, 48, 3, 3, 1, 1, 1, 1},
    {14, 80, 8, 8, 16, 3, 3, 1, 1, 1, 1},
    // Large enough for oneDNN.
    {16, 3, 32, 32, 64, 3, 3, 1, 1, 1, 1},
    {30, 16, 33, 31, 32, 3, 3, 2, 0, 1, 1},
    // Few channels, in rows long enough to be multiplied where they lie; the last with a border all around.
    {3, 1, 28, 28, 6, 5, 5, 1, 2, 1, 1},
    {2, 6, 14, 14, 16, 5, 5, 1, 0, 1, 1},
    {2, 2, 13, 15, 3, 4, 2, 1, 1, 1, 1},
    {3, 3, 33, 31, 12, 3, 5, 2, 2, 1, 1},
    {1, 1, 40, 75, 1, 1, 7, 3, 0, 1, 1},
    {40, 5, 9, 8, 10, 2, 3, 1, 0, 1, 1},
    {2, 1, 9, 11, 7, 3, 3, 1, 4, 1, 1},
    // Strided and large; few positions and many channels; more taps than are multiplied at once.
    {16, 64, 17, 16, 64, 3, 3, 2, 2, 1, 1},
    {3, 144, 4, 5, 68, 3, 3, 1, 1, 1, 1},
    {2, 560, 5, 5, 20, 3, 3, 2, 0, 1, 1},
};

// So many filters for their tiles that each panel of them is transformed where it is multiplied.
const std::vector<ConvShape> many_filters = {{33, 256, 4, 4, 272, 3, 3, 1, 1, 1, 1},
                                             {66, 256, 7, 8, 272, 3, 3, 2, 1, 1, 1}};

template <typename T, By by = By::table>
void check_one(ConvShape s, double bound) {
  s.dtype = dtype_of<T>;
  CAPTURE(s.batch);
  CAPTURE(s.in_channels);
  CAPTURE(s.in_height);
  CAPTURE(s.out_channels);
  CAPTURE(s.kernel_height);
  CAPTURE(s.stride);
  CAPTURE(s.groups);
  const Values in = random_values(in_count(s), 1), weight = random_values(weight_count(s), 2);
  const Values out_gradient = random_values(out_count(s), 3);
  const Passes wanted = expected(s, in, weight, out_gradient);
  const Passes found = computed<T, by>(s, in, weight, out_gradient);
  CHECK(relative_error(found.out, wanted.out) < bound);
  CHECK(relative_error(found.in_gradient, wanted.in_gradient) < bound);
  CHECK(relative_error(found.weight_gradient, wanted.weight_gradient) < bound);
}

template <typename T, By by = By::table>
void check_all(double bound) {
  for (const ConvShape& s : shapes) check_one<T, by>(s, bound);
}

template <typename T, By by = By::table>
void check_same_bits(ConvShape s, int threads) {
  s.dtype = dtype_of<T>;
  const Values in = random_values(in_count(s), 1), weight = random_values(weight_count(s), 2);
  const Values out_gradient = random_values(out_count(s), 3);
  set_thread_count(1);
  const Passes one = computed<T, by>(s, in, weight, out_gradient);
  set_thread_count(threads);
  const Passes several = computed<T, by>(s, in, weight, out_gradient);
  set_thread_count(0);
  CHECK(one.out == several.out);
  CHECK(one.in_gradient == several.in_gradient);
  CHECK(one.weight_gradient == several.weight_gradient);
}

TEST_CASE("CPU convolution in f32 equals its definition") {
  check_all<float>(1e-5);
}

TEST_CASE("CPU convolution with many filters equals its definition, up to the rounding of long sums") {
  for (const ConvShape& s : many_filters) check_one<float>(s, 2e-5);
}

TEST_CASE("CPU convolution with constant filters in a graph equals its definition") {
  check_all<float, By::kept>(1e-5);
  for (const ConvShape& s : many_filters) check_one<float, By::kept>(s, 2e-5);
}

TEST_CASE("CPU convolution with constant filters in a graph does not depend on the number of threads") {
  for (const ConvShape& s : {ConvShape{1, 80, 7, 8, 96, 3, 3, 1, 1, 1, 1},
                             {9, 32, 17, 11, 48, 3, 3, 1, 1, 1, 1},
                             {9, 32, 17, 22, 64, 3, 3, 2, 1, 1, 1},
                             many_filters.front()})
    check_same_bits<float, By::kept>(s, 3);
}

TEST_CASE("CPU convolution by patches equals its definition") {
  check_all<float, By::patches>(1e-5);
}

TEST_CASE("CPU convolution by patches does not depend on the number of threads") {
  for (const ConvShape& s : {ConvShape{9, 32, 17, 15, 40, 3, 3, 2, 1, 1, 1},
                             {2, 96, 8, 7, 64, 3, 3, 1, 1, 1, 1},
                             {7, 6, 20, 21, 16, 5, 5, 1, 0, 1, 1}})
    check_same_bits<float, By::patches>(s, 3);
}

TEST_CASE("CPU convolution in f64 equals its definition") {
  check_all<double>(1e-13);
}

TEST_CASE("CPU convolution in f64 does not depend on the number of threads") {
  check_same_bits<double>({19, 5, 9, 7, 8, 3, 3, 2, 1, 1, 1}, 2);
}

TEST_CASE("CPU convolution without patches does not depend on the number of threads") {
  // By Winograd filtering, and between few channels.
  for (const ConvShape& s : {ConvShape{37, 32, 9, 11, 16, 3, 3, 1, 1, 1, 1},
                             {3, 80, 7, 8, 96, 3, 3, 1, 1, 1, 1},
                             {1, 80, 7, 8, 96, 3, 3, 1, 1, 1, 1},
                             {36, 96, 4, 3, 96, 3, 3, 1, 1, 1, 1},
                             {37, 32, 17, 22, 64, 3, 3, 2, 1, 1, 1},
                             {37, 1, 28, 28, 6, 5, 5, 1, 2, 1, 1}})
    check_same_bits<float>(s, 3);
  for (const ConvShape& s : many_filters) check_same_bits<float>(s, 3);
}

TEST_CASE("CPU convolution in f32 follows a change of the number of threads") {
  ConvShape s{6, 16, 9, 7, 16, 3, 3, 1, 1, 1, 1};
  const Values in = random_values(in_count(s), 1), weight = random_values(weight_count(s), 2);
  const Values out_gradient = random_values(out_count(s), 3);
  const Passes wanted = expected(s, in, weight, out_gradient);
  for (const int threads : {2, 1, 3}) {
    set_thread_count(threads);
    CHECK(relative_error(computed<float>(s, in, weight, out_gradient).weight_gradient,
                         wanted.weight_gradient) < 1e-5);
  }
  set_thread_count(0);
}

TEST_CASE("CPU convolution refuses what it cannot do") {
  const Stream stream{cpu, nullptr};
  std::vector<float> memory(4096);
  const auto forward = [&](const ConvShape& s) {
    kernels(cpu).conv_forward(stream, s, memory.data(), memory.data(), memory.data());
  };
  ConvShape s{1, 4, 8, 8, 4, 3, 3, 1, 1, 1, 1};
  s.dtype = DType::i64;
  CHECK_THROWS_WITH_AS(forward(s), doctest::Contains("supports f32 and f64, found i64"), Error);
  s.dtype = DType::f32;
  s.groups = 3;
  CHECK_THROWS_WITH_AS(forward(s), doctest::Contains("divisible by groups"), Error);
  s.groups = 1;
  s.kernel_height = 11;
  CHECK_THROWS_WITH_AS(forward(s), doctest::Contains("no larger than its padded input"), Error);
}

}  // namespace
