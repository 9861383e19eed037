// The area under the curve against its definition, its interval against simulation, and the attackers on
// planted and absent differences.
#include "watermark/detectability.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/error.h"

using namespace dw;

namespace {

std::vector<double> normal_draws(size_t count, double mean, std::mt19937& generator) {
  std::normal_distribution<double> normal(mean, 1);
  std::vector<double> values(count);
  for (double& value : values) value = normal(generator);
  return values;
}

// `each` networks of both kinds; `shift` moves feature 3 of the marked ones.
LabelledNetworks networks_with(double shift, size_t each, size_t features, uint32_t seed) {
  std::mt19937 generator(seed);
  LabelledNetworks networks;
  for (size_t i = 0; i < 2 * each; ++i) {
    networks.marked.push_back(i % 2 == 0);
    networks.features.push_back(normal_draws(features, 0, generator));
    if (networks.marked.back()) networks.features.back()[3] += shift;
  }
  return networks;
}

std::vector<std::string> names_for(size_t features) {
  std::vector<std::string> names;
  for (size_t i = 0; i < features; ++i) names.push_back("f" + std::to_string(i));
  return names;
}

}  // namespace

TEST_CASE("detectability: the area under the curve counts pairs, ties by halves") {
  std::mt19937 generator(1);
  for (const auto& [p, n] : {std::pair<size_t, size_t>{1, 1}, {7, 3}, {40, 60}}) {
    std::vector<double> positives = normal_draws(p, 0.5, generator),
                        negatives = normal_draws(n, 0, generator);
    for (double& x : positives) x = std::round(2 * x);
    for (double& x : negatives) x = std::round(2 * x);
    double wins = 0;
    for (const double a : positives)
      for (const double b : negatives) wins += a > b ? 1 : a == b ? 0.5 : 0;
    const AreaUnderCurve area = area_under_curve(positives, negatives);
    CHECK(area.value == doctest::Approx(wins / static_cast<double>(p * n)));
    CHECK(area.low <= area.value);
    CHECK(area.high >= area.value);
  }
  CHECK(area_under_curve(std::vector<double>{2, 3}, std::vector<double>{0, 1}).value == 1);
  CHECK_THROWS_AS(area_under_curve(std::vector<double>{2}, {}), Error);
}

TEST_CASE("detectability: the interval holds the true area as often as it says") {
  std::mt19937 generator(2);
  for (const double shift : {0.0, 1.0}) {
    const double truth = 0.5 * std::erfc(-shift / 2);  // Φ(shift / √2)
    int covered = 0;
    constexpr int trials = 1000;
    for (int i = 0; i < trials; ++i) {
      const AreaUnderCurve area =
          area_under_curve(normal_draws(40, shift, generator), normal_draws(40, 0, generator));
      covered += area.low <= truth && truth <= area.high;
    }
    CHECK(covered > 0.92 * trials);
    CHECK(covered < 0.98 * trials);
  }
}

TEST_CASE("detectability: both attackers see a planted difference and name it") {
  constexpr size_t features = 30;
  const LabelledNetworks networks = networks_with(2.5, 30, features, 3);
  const Attacker regression = logistic_attacker(networks, {5, 2, 20, 1});
  const Attacker threshold = threshold_attacker(networks, names_for(features), {5, 2, 20, 1});
  // Φ(2.5 / √2) = 0.961 for who knows the feature; the regression must find it among others.
  CHECK(regression.area.value > 0.8);
  CHECK(threshold.area.value > 0.9);
  CHECK(threshold.area.low > 0.7);
  CHECK(threshold.detail.find("\"f3\"") != std::string::npos);
  const Attacker choosing = choosing_attacker(networks, names_for(features), {5, 2, 20, 1});
  CHECK(choosing.area.value > 0.9);
  CHECK(choosing.detail.find("\"f3\"") != std::string::npos);
  CHECK(regression.score.size() == 60);
}

TEST_CASE("detectability: the regression adds up evidence that no single feature shows") {
  LabelledNetworks networks = networks_with(0, 40, 20, 4);
  for (size_t i = 0; i < networks.features.size(); ++i) {
    if (!networks.marked[i]) continue;
    for (double& value : networks.features[i]) value += 0.7;
  }
  const Attacker regression = logistic_attacker(networks, {5, 2, 20, 1});
  CHECK(regression.area.value > threshold_attacker(networks, names_for(20), {5, 2, 20, 1}).area.value + 0.1);
  CHECK(regression.area.value > 0.9);
  const Attacker choosing = choosing_attacker(networks, names_for(20), {5, 2, 20, 1});
  CHECK(choosing.area.value > 0.9);
  CHECK(choosing.detail.find("regression") != std::string::npos);
}

TEST_CASE("detectability: choosing the better attacker inside the training folds brings no luck with it") {
  constexpr int trials = 60;
  int covered = 0;
  double choosing = 0, larger = 0;
  for (int i = 0; i < trials; ++i) {
    const LabelledNetworks networks = networks_with(0, 20, 12, 300 + i);
    const AreaUnderCurve area = choosing_attacker(networks, names_for(12), {5, 1, 20, 1}).area;
    covered += area.low <= 0.5 && 0.5 <= area.high;
    choosing += area.value / trials;
    larger += std::max(logistic_attacker(networks, {5, 1, 0, 1}).area.value,
                       threshold_attacker(networks, names_for(12), {5, 1, 0, 1}).area.value) /
              trials;
  }
  CHECK(covered >= 52);
  CHECK(std::fabs(choosing - 0.5) < 0.04);
  CHECK(larger > choosing + 0.02);  // the luck that it avoids
}

TEST_CASE("detectability: where there is nothing to see, attackers score one half within their interval") {
  constexpr int trials = 60;
  int covered_regression = 0, covered_threshold = 0;
  double mean_regression = 0, mean_threshold = 0;
  for (int i = 0; i < trials; ++i) {
    const LabelledNetworks networks = networks_with(0, 20, 12, 100 + i);
    const AreaUnderCurve a = logistic_attacker(networks, {5, 1, 20, 1}).area;
    const AreaUnderCurve b = threshold_attacker(networks, names_for(12), {5, 1, 20, 1}).area;
    covered_regression += a.low <= 0.5 && 0.5 <= a.high;
    covered_threshold += b.low <= 0.5 && 0.5 <= b.high;
    mean_regression += a.value / trials;
    mean_threshold += b.value / trials;
  }
  CHECK(std::fabs(mean_regression - 0.5) < 0.06);
  CHECK(std::fabs(mean_threshold - 0.5) < 0.06);
  CHECK(covered_regression >= 52);
  CHECK(covered_threshold >= 52);
}

TEST_CASE(
    "detectability: attackers are a function of the networks and the seed, and refuse what is too small") {
  const LabelledNetworks networks = networks_with(1, 12, 8, 5);
  CHECK(logistic_attacker(networks).area.value == logistic_attacker(networks).area.value);
  CHECK_THROWS_AS(logistic_attacker(networks, {13, 1, 1, 1}), Error);
  LabelledNetworks ragged = networks;
  ragged.features[2].pop_back();
  CHECK_THROWS_AS(logistic_attacker(ragged), Error);
  ragged = networks;
  ragged.marked.pop_back();
  CHECK_THROWS_AS(threshold_attacker(ragged, names_for(8)), Error);
  CHECK_THROWS_AS(choosing_attacker(networks, names_for(7)), Error);
}

TEST_CASE(
    "detectability: features of a network are finite, named, and blind to its overall scale but for log σ") {
  std::mt19937 generator(6);
  Model model;
  for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
           {"a", {8, 4, 3, 3}}, {"bias", {8}}, {"b", {4, 4, 1, 1}}}) {
    ModelTensor tensor{name, shape, {}};
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    for (const double value : normal_draws(static_cast<size_t>(count), 0, generator))
      tensor.values.push_back(static_cast<float>(value));
    model.tensors.push_back(tensor);
  }
  const WeightFeatures features = weight_features(model);
  CHECK(features.names.size() == features.values.size());
  CHECK(features.names.size() % 3 == 0);  // a, b and all
  CHECK(features.names[0] == "a log σ");
  for (ModelTensor& tensor : model.tensors)
    for (float& value : tensor.values) value *= 4;
  const WeightFeatures scaled = weight_features(model);
  for (size_t i = 0; i < features.values.size(); ++i) {
    CAPTURE(features.names[i]);
    CHECK(std::isfinite(features.values[i]));
    const double moved = features.names[i] == "a log σ" || features.names[i] == "b log σ" ? std::log(4.0) : 0;
    CHECK(std::fabs(scaled.values[i] - features.values[i] - moved) < 1e-5);
  }
  model.tensors[0].values[3] = std::nanf("");
  CHECK_THROWS_AS(weight_features(model), Error);
  CHECK_THROWS_AS(weight_features(Model{}), Error);
}
