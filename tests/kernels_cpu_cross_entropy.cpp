// Softmax cross entropy on the CPU against the definition in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/table.h"

namespace {

using namespace dw;

template <typename T>
struct Problem {
  int64_t rows, classes;
  std::vector<T> logits, losses, gradient;
  std::vector<int64_t> labels;

  Problem(int64_t row_count, int64_t class_count, double scale) : rows(row_count), classes(class_count) {
    std::mt19937 generator(9);
    std::normal_distribution<double> normal(0, scale);
    for (int64_t i = 0; i < rows * classes; ++i) logits.push_back(static_cast<T>(normal(generator)));
    for (int64_t i = 0; i < rows; ++i) labels.push_back(i * 7 % classes);
    losses.assign(static_cast<size_t>(rows), T{99});
    gradient.assign(logits.size(), T{99});
  }

  void run() {
    const auto matrix = [&](std::vector<T>& values) {
      return View{values.data(), dtype_of<T>, 2, {rows, classes}, {classes, 1}};
    };
    kernels(cpu).softmax_cross_entropy({cpu, nullptr}, matrix(logits),
                                       {labels.data(), DType::i64, 1, {rows}, {1}},
                                       {losses.data(), dtype_of<T>, 1, {rows}, {1}}, matrix(gradient));
  }
};

template <typename T>
void check(int64_t rows, int64_t classes, double scale, double bound) {
  CAPTURE(rows);
  CAPTURE(classes);
  CAPTURE(scale);
  Problem<T> p(rows, classes, scale);
  p.run();
  double worst_loss = 0, worst_gradient = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const T* logits = p.logits.data() + row * classes;
    const int64_t label = p.labels[static_cast<size_t>(row)];
    const auto largest = static_cast<double>(*std::max_element(logits, logits + classes));
    double sum = 0;
    for (int64_t i = 0; i < classes; ++i) sum += std::exp(static_cast<double>(logits[i]) - largest);
    const double loss = std::log(sum) + largest - static_cast<double>(logits[label]);
    const double loss_error =
        std::abs(static_cast<double>(p.losses[static_cast<size_t>(row)]) - loss) / (1 + loss);
    worst_loss = loss_error <= worst_loss ? worst_loss : loss_error;
    for (int64_t i = 0; i < classes; ++i) {
      const double wanted = std::exp(static_cast<double>(logits[i]) - largest) / sum - (i == label ? 1 : 0);
      const double error =
          std::abs(static_cast<double>(p.gradient[static_cast<size_t>(row * classes + i)]) - wanted);
      worst_gradient = error <= worst_gradient ? worst_gradient : error;
    }
  }
  CHECK(worst_loss < bound);
  CHECK(worst_gradient < bound);
}

TEST_CASE("CPU cross entropy equals its definition, extreme logits included") {
  for (const auto& [rows, classes] : {std::pair{1, 1}, {1, 2}, {5, 3}, {128, 10}, {33, 1000}})
    for (const double scale : {1.0, 100.0, 1e4}) {
      check<float>(rows, classes, scale, 1e-6);
      check<double>(rows, classes, scale, 1e-13);
    }
}

TEST_CASE("CPU cross entropy does not depend on the number of threads") {
  Problem<float> one(300, 100, 2), two = one;
  set_thread_count(1);
  one.run();
  set_thread_count(2);
  two.run();
  set_thread_count(0);
  CHECK(one.losses == two.losses);
  CHECK(one.gradient == two.gradient);
}

TEST_CASE("CPU cross entropy passes a NaN on and leaves other rows alone") {
  Problem<float> p(3, 4, 1);
  p.logits[4] = std::numeric_limits<float>::quiet_NaN();
  p.run();
  CHECK(std::isfinite(p.losses[0]));
  CHECK(std::isnan(p.losses[1]));
  CHECK(std::isfinite(p.losses[2]));
}

TEST_CASE("CPU cross entropy refuses labels outside the classes") {
  for (const int64_t label : {-1, 4}) {
    Problem<float> p(3, 4, 1);
    p.labels[2] = label;
    CHECK_THROWS_WITH_AS(p.run(), doctest::Contains("in row 2"), Error);
  }
}

}  // namespace
