// Learning-rate schedules at points worked out by hand, and optimizer steps against their formulas in
// float64.
#include <doctest/doctest.h>

#include <cmath>

#include "core/ops.h"
#include "core/optimizer.h"
#include "core/random.h"
#include "core/schedule.h"
#include "kernels/error.h"

using namespace dw;
using doctest::Approx;

namespace {

// A parameter with what its gradients are to be, step after step.
struct Problem {
  Tensor parameter;
  std::vector<std::vector<double>> gradients;
};

Problem small_problem() {
  Problem problem{Tensor::from(std::vector<double>{1.0, -2.0, 0.5}, {3}), {}};
  problem.gradients = {{0.3, -0.1, 0.0}, {-0.2, 0.4, 1e-3}, {0.1, 0.1, -5.0}};
  return problem;
}

const std::vector<double> rates{0.1, 0.1, 0.02};

template <typename Method>
std::vector<double> run(const Problem& problem, const typename Method::Options& options) {
  Method optimizer({{"w", problem.parameter}}, options);
  for (size_t step = 0; step < rates.size(); ++step) {
    problem.parameter.set_grad(Tensor::from(problem.gradients[step], {3}));
    optimizer.set_learning_rate(rates[step]);
    optimizer.step();
  }
  return problem.parameter.to_vector<double>();
}

void check_equal(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) CHECK(found[i] == Approx(expected[i]).epsilon(1e-12));
}

}  // namespace

TEST_CASE("schedules: one-cycle rises over the first 30 % and falls to 0.4 %") {
  const Schedule schedule = one_cycle_schedule();
  CHECK(schedule(0) == Approx(0.1));
  CHECK(schedule(0.15) == Approx(0.55));
  CHECK(schedule(0.3) == Approx(1));
  CHECK(schedule(0.65) == Approx(0.502));
  CHECK(schedule(1) == Approx(0.004));
}

TEST_CASE("schedules: the paper's steps fall at epochs 60, 120 and 160 of 200") {
  const Schedule schedule = schedule_named("steps");
  // Also for step counts whose fractions are not exact in binary.
  for (const int64_t batches : {1, 7, 391, 782}) {
    const auto rate = [&](int64_t step) {
      return schedule(static_cast<double>(step) / static_cast<double>(200 * batches));
    };
    CHECK(rate(0) == 1);
    CHECK(rate(60 * batches - 1) == 1);
    CHECK(rate(60 * batches) == Approx(0.2));
    CHECK(rate(120 * batches - 1) == Approx(0.2));
    CHECK(rate(120 * batches) == Approx(0.04));
    CHECK(rate(160 * batches - 1) == Approx(0.04));
    CHECK(rate(160 * batches) == Approx(0.008));
    CHECK(rate(200 * batches - 1) == Approx(0.008));
  }
}

TEST_CASE("schedules: cosine, constant, and names that are not known") {
  CHECK(cosine_schedule()(0) == Approx(1));
  CHECK(cosine_schedule()(1.0 / 3) == Approx(0.75));
  CHECK(cosine_schedule()(0.5) == Approx(0.5));
  CHECK(constant_schedule()(0.9) == 1);
  for (const std::string& name : schedule_names()) CHECK(schedule_named(name)(0.5) > 0);
  CHECK_THROWS_AS(schedule_named("step"), UsageError);
  CHECK_THROWS_AS(one_cycle_schedule(0), Error);
}

TEST_CASE("optimizers: SGD with plain and Nesterov momentum and weight decay") {
  for (const bool nesterov : {true, false}) {
    const Problem problem = small_problem();
    std::vector<double> w = problem.parameter.to_vector<double>(), buffer(3, 0);
    for (size_t step = 0; step < rates.size(); ++step) {
      for (size_t i = 0; i < 3; ++i) {
        const double g = problem.gradients[step][i] + 0.01 * w[i];
        buffer[i] = 0.9 * buffer[i] + g;
        w[i] -= rates[step] * (nesterov ? g + 0.9 * buffer[i] : buffer[i]);
      }
    }
    check_equal(run<Sgd>(problem, {.momentum = 0.9, .nesterov = nesterov, .weight_decay = 0.01}), w);
  }
}

TEST_CASE("optimizers: Adam with decay in the gradient, and AdamW") {
  for (const bool decoupled : {true, false}) {
    const Problem problem = small_problem();
    std::vector<double> w = problem.parameter.to_vector<double>(), first(3, 0), second(3, 0);
    for (size_t step = 0; step < rates.size(); ++step) {
      const auto t = static_cast<double>(step + 1);
      for (size_t i = 0; i < 3; ++i) {
        const double g = problem.gradients[step][i] + (decoupled ? 0 : 0.01 * w[i]);
        if (decoupled) w[i] -= rates[step] * 0.01 * w[i];
        first[i] = 0.9 * first[i] + 0.1 * g;
        second[i] = 0.999 * second[i] + 0.001 * g * g;
        const double mean = first[i] / (1 - std::pow(0.9, t)), square = second[i] / (1 - std::pow(0.999, t));
        w[i] -= rates[step] * mean / (std::sqrt(square) + 1e-8);
      }
    }
    check_equal(run<Adam>(problem, {.weight_decay = 0.01, .decoupled = decoupled}), w);
  }
}

TEST_CASE("optimizers: a parameter without a gradient is left alone") {
  const Tensor with = Tensor::full({2}, 1), without = Tensor::full({2}, 1);
  Sgd optimizer({{"with", with}, {"without", without}}, {});
  with.set_grad(Tensor::full({2}, 1));
  optimizer.set_learning_rate(0.1);
  optimizer.step();
  CHECK(with.to_vector<float>()[0] < 1);
  CHECK(without.to_vector<float>() == std::vector<float>{1, 1});
  CHECK_THROWS_AS(Sgd({}, {}), Error);
}

TEST_CASE("random: dropout depends on seed, step and place alone") {
  const Tensor ones = Tensor::full({1000}, 1);
  const auto draw = [&](uint64_t seed, uint32_t step) {
    const RandomScope scope(seed, step);
    std::vector<std::vector<float>> draws;
    for (int i = 0; i < 2; ++i) draws.push_back(dropout(ones, 0.25).to_vector<float>());
    return draws;
  };
  const auto first = draw(1, 5);
  CHECK(draw(1, 5) == first);
  CHECK(draw(1, 6) != first);
  CHECK(draw(2, 5) != first);
  CHECK(first[0] != first[1]);
  {
    const RandomScope outer(1, 5);
    static_cast<void>(draw(9, 9));
    CHECK(dropout(ones, 0.25).to_vector<float>() == first[0]);
  }
  int kept = 0;
  for (const float value : first[0]) {
    CHECK((value == 0 || value == doctest::Approx(1 / 0.75)));
    kept += value != 0;
  }
  CHECK(kept > 700);
  CHECK(kept < 800);
  CHECK_THROWS_AS(dropout(ones, 0.25), Error);
}
