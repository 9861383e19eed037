// The gradient of every scheme's term against finite differences of its loss.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/embedding_support.h"
#include "tests/schemes_support.h"
#include "watermark/schemes/wasserstein.h"

using namespace dw;
using namespace dw::test;

namespace {

struct GradientCase {
  SchemeOptions options;
  std::string scheme;
  double lambda;
};

double loss_of(Embedding& embedding, const std::vector<Tensor>& weights) {
  for (const Tensor& weight : weights) weight.set_grad(Tensor::zeros_like(weight));
  embedding.term()->add_gradients();
  return embedding.term()->loss();
}

}  // namespace

TEST_CASE("schemes: gradients equal finite differences") {
  const std::vector<GradientCase> cases{
      {{.values = {{"match", "w2"}, {"strength", "1"}, {"lambda", "0.5"}}}, "deepwater", 0.5},
      {{.values = {{"lambda", "0.5"}}, .layers = {"layer1"}}, "uchida", 0.5},
      {{.values = {{"lambda", "0.5"}, {"matrix", "direct"}}, .layers = {"layer1"}}, "uchida", 0.5},
      {{.values = {{"lambda", "0.5"}, {"matrix", "diff"}}, .layers = {"layer1"}}, "uchida", 0.5},
      {{.values = {{"lambda", "0.5"}, {"rounds", "2"}, {"size", "48"}}, .layers = {"layer1"}},
       "neuralmark",
       0.5},
      {{.values = {{"lambda", "0.5"}, {"columns", "9"}}, .layers = {"layer0", "layer1"}},
       "greedy-residual",
       0.5}};
  for (const GradientCase& tried : cases) {
    CAPTURE(tried.scheme);
    constexpr int bits = 64;
    const OwnerKey key = fixed_key(bits);
    BareFilters network({{8, 8, 3, 3}, {16, 8, 3, 3}});
    for (size_t l = 0; l < 2; ++l) {
      const Tensor weight = network.marked()[l];
      weight.copy_from(random_normal(weight.shape(), {1, 2, static_cast<uint32_t>(l)}, 0, 0.1));
    }
    const auto embedding = scheme_named(tried.scheme).embed(network, "filters", key, tried.options);
    const std::vector<Tensor> weights = tensors_of(network, embedding->mark());
    CHECK(loss_of(*embedding, weights) > 0);
    const Tensor weight = weights.back();
    const std::vector<float> values = weight.to_vector<float>(), slopes = weight.grad().to_vector<float>();
    double squares = 0;
    for (const double w : values) squares += w * w;
    // Ours multiplies by T s², and holds the scale s constant.
    const double factor =
        tried.lambda *
        (tried.scheme == "deepwater" ? bits * squares / static_cast<double>(values.size()) : 1);
    double difference = 0, norm = 0;
    for (size_t i = 0; i + 1 < values.size(); i += 2) {
      // Turning two weights into each other leaves the scale as it is.
      const auto turned = [&](double angle) {
        std::vector<float> moved = values;
        moved[i] = static_cast<float>(values[i] * std::cos(angle) - values[i + 1] * std::sin(angle));
        moved[i + 1] = static_cast<float>(values[i] * std::sin(angle) + values[i + 1] * std::cos(angle));
        weight.copy_from(Tensor::from(moved, weight.shape()));
        return loss_of(*embedding, weights);
      };
      constexpr double angle = 2e-3;
      const double measured = (turned(angle) - turned(-angle)) / (2 * angle);
      const double expected = (slopes[i + 1] * values[i] - slopes[i] * values[i + 1]) / factor;
      difference += (measured - expected) * (measured - expected);
      norm += expected * expected;
    }
    CHECK(norm > 0);
    CHECK(std::sqrt(difference / norm) < 0.02);
  }
}

TEST_CASE("schemes: quantiles of the marked density") {
  const MarkedQuantiles plain(Density::gaussian(), 1e-9, 0.7);
  CHECK(plain.at(0.5) == doctest::Approx(0).epsilon(1e-3).scale(1));
  CHECK(plain.at(0.975) == doctest::Approx(1.95996).epsilon(1e-3));
  CHECK(plain.at(0.025) == doctest::Approx(-1.95996).epsilon(1e-3));
  // Tilted: the mean of the quantiles is a E|x| tanh(|x| / tau), their mean square stays that of f.
  constexpr double amplitude = 0.6, tau = 0.7;
  const MarkedQuantiles tilted(Density::gaussian(), amplitude, tau);
  double mean = 0, square = 0;
  constexpr int count = 20000;
  for (int i = 0; i < count; ++i) {
    const double v = tilted.at((i + 0.5) / count);
    mean += v / count;
    square += v * v / count;
  }
  CHECK(mean == doctest::Approx(amplitude * Density::gaussian().mean_shift(tau)).epsilon(1e-3));
  CHECK(square == doctest::Approx(1).epsilon(2e-3));
}
