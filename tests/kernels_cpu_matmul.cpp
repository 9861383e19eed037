// Matrix products on the CPU against the definition.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/table.h"

namespace {

using namespace dw;

template <typename T>
void check_product(MatmulShape s, double bound) {
  s.dtype = dtype_of<T>;
  s.stride_a = s.m * s.k + 3;
  s.stride_b = s.batch > 1 ? s.k * s.n : 0;
  s.stride_c = s.m * s.n + 1;
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  CAPTURE(s.batch);
  CAPTURE(s.transpose_a);
  CAPTURE(s.transpose_b);
  std::mt19937 generator(7);
  std::normal_distribution<T> normal;
  const auto random = [&](int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    for (T& value : values) value = normal(generator);
    return values;
  };
  const std::vector<T> a = random(s.batch * s.stride_a), b = random(s.batch * s.k * s.n);
  std::vector<T> c = random(s.batch * s.stride_c);
  const std::vector<T> before = c;
  if (s.beta == 0) c.assign(c.size(), std::numeric_limits<T>::quiet_NaN());
  kernels(cpu).matmul({cpu, nullptr}, s, a.data(), b.data(), c.data());
  double worst = 0;
  for (int64_t batch = 0; batch < s.batch; ++batch)
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < s.k; ++p)
          sum +=
              static_cast<double>(
                  a[static_cast<size_t>(batch * s.stride_a + (s.transpose_a ? p * s.m + i : i * s.k + p))]) *
              static_cast<double>(
                  b[static_cast<size_t>(batch * s.stride_b + (s.transpose_b ? j * s.k + p : p * s.n + j))]);
        const auto at = static_cast<size_t>(batch * s.stride_c + i * s.n + j);
        const double wanted = s.alpha * sum + (s.beta == 0 ? 0 : s.beta * static_cast<double>(before[at]));
        const double error = std::abs(static_cast<double>(c[at]) - wanted);
        worst = error <= worst ? worst : error;
      }
  CHECK(worst < bound * std::sqrt(static_cast<double>(s.k) + 1));
}

template <typename T>
void check_products(double bound) {
  // The last is too large for our own product of small ones.
  const int64_t sizes[][3] = {{1, 1, 1},    {3, 5, 7},  {1, 9, 33},    {17, 1, 21},
                              {4, 4, 0},    {0, 3, 4},  {3, 0, 4},     {64, 10, 128},
                              {65, 63, 70}, {1, 1, 50}, {9, 100, 333}, {90, 80, 75}};
  for (const auto& [m, n, k] : sizes)
    for (const int64_t batch : {1, 3, 40})
      for (const bool transpose_a : {false, true})
        for (const bool transpose_b : {false, true})
          for (const auto& [alpha, beta] : {std::pair{1.0, 0.0}, {-0.5, 1.0}, {2.0, 0.25}}) {
            MatmulShape s;
            s.m = m, s.n = n, s.k = k, s.batch = batch;
            s.transpose_a = transpose_a, s.transpose_b = transpose_b;
            s.alpha = alpha, s.beta = beta;
            check_product<T>(s, bound);
          }
}

TEST_CASE("CPU matmul in f32 equals its definition") {
  check_products<float>(1e-5);
}

TEST_CASE("CPU matmul in f64 equals its definition") {
  check_products<double>(1e-13);
}

TEST_CASE("CPU matmul refuses integers") {
  MatmulShape s;
  s.m = s.n = s.k = 1;
  s.dtype = DType::i64;
  float memory[4] = {};
  CHECK_THROWS_WITH_AS(kernels(cpu).matmul({cpu, nullptr}, s, memory, memory, memory),
                       doctest::Contains("expects f32 or f64, found i64"), Error);
}

}  // namespace
