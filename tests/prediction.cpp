// The predicted bit error rate against simulated bits, and the marked start against what it promises.
#include "watermark/prediction.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/error.h"
#include "layers/networks.h"
#include "tests/watermark_ownership_support.h"
#include "watermark/distributions.h"
#include "watermark/embedder.h"
#include "watermark/marked_start.h"
#include "watermark/model.h"
#include "watermark/samples.h"

using namespace dw;
using namespace dw::test;

namespace {

// Bits of independent draws, pruned as a whole network is: at the common threshold.
double simulated_error_rate(double amplitude, double tau, double weights_per_bit, double pruned) {
  std::mt19937 generator(11);
  std::poisson_distribution<int> owned(weights_per_bit);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  const double threshold = pruned > 0 ? quantile(Distribution{}, 0.5 * (1 + pruned)) : 0;
  constexpr int bits = 20000;
  int errors = 0;
  for (int j = 0; j < bits; ++j) {
    double score = 0;
    for (int i = owned(generator); i > 0; --i) {
      const double magnitude = std::fabs(normal(generator));
      const bool aligned = uniform(generator) < 0.5 * (1 + amplitude * std::tanh(magnitude / tau));
      if (magnitude > threshold) score += (aligned ? 1 : -1) * evidence(magnitude, amplitude, tau);
    }
    errors += !(score > 0);
  }
  return static_cast<double>(errors) / bits;
}

}  // namespace

TEST_CASE("prediction: bit error rates agree with simulated bits") {
  struct Case {
    double amplitude, weights, pruned;
  };
  for (const Case& c :
       {Case{0.2, 50, 0}, {0.2, 100, 0.5}, {0.15, 200, 0.8}, {0.3, 300, 0.9}, {0.5, 200, 0.95}}) {
    CAPTURE(c.pruned);
    const double predicted = predicted_bit_error_rate(c.amplitude, 0.7, c.weights, c.pruned);
    const double simulated = simulated_error_rate(c.amplitude, 0.7, c.weights, c.pruned);
    CHECK(predicted > 0.005);
    CHECK(std::fabs(predicted - simulated) < 0.012);
  }
}

TEST_CASE("prediction: fewer weights, weaker tilts and more pruning cost bits; wrong arguments are refused") {
  const double base = predicted_bit_error_rate(0.4, 0.7, 300, 0.9);
  CHECK(predicted_bit_error_rate(0.3, 0.7, 300, 0.9) > base);
  CHECK(predicted_bit_error_rate(0.4, 0.7, 200, 0.9) > base);
  CHECK(predicted_bit_error_rate(0.4, 0.7, 300, 0.95) > base);
  CHECK(predicted_bit_error_rate(0.4, 0.7, 300, 0) < 1e-6);
  // Almost everything gone: nearly every bit is erased.
  CHECK(predicted_bit_error_rate(0.4, 0.7, 300, 0.99999) > 0.98);
  CHECK_THROWS_AS(predicted_bit_error_rate(1, 0.7, 300, 0.9), Error);
  CHECK_THROWS_AS(predicted_bit_error_rate(0.4, 0.7, 300, 1), Error);
}

TEST_CASE("marked start: the owner reads every bit, and magnitudes are those of the unmarked start") {
  const auto network = make_network({"wrn-10-1", 10, 3, 32, 32});
  network->initialize(3);
  const Model before = model_of(*network, {});
  const OwnerKey key = fixed_key(64);
  const Mark mark = Embedder(*network, "wrn-10-1", key, {}).mark();
  choose_marked_signs(*network, mark, key);
  const Model after = model_of(*network, {});

  std::vector<LayerWeights> layers;
  int flipped = 0, count = 0;
  for (const MarkedLayer& layer : mark.layers) {
    const std::vector<float>&was = before.at(layer.name).values, &now = after.at(layer.name).values;
    layers.push_back({layer.name, layer.shape, now});
    for (size_t i = 0; i < was.size(); ++i, ++count) {
      CHECK(std::fabs(was[i]) == std::fabs(now[i]));
      flipped += was[i] != now[i];
    }
    // The layer stays symmetric.
    CHECK(std::fabs(describe(now).skewness) < 6 * std::sqrt(6.0 / static_cast<double>(now.size())));
    CHECK(std::fabs(describe(now).mean) <
          5 * describe(now).deviation / std::sqrt(static_cast<double>(now.size())));
  }
  CHECK(static_cast<double>(flipped) / count == doctest::Approx(0.5).epsilon(0.03));
  const Reading reading = Reader(layers, mark).read(key.master, payload_of(key.master, key.statement));
  CHECK(reading.matches.matches == 64);
  // Every bit's skew function lies on its target, to within a weight or two of each layer.
  for (const double t : {0.0, 0.5, 1.5}) {
    std::vector<double> skew(64, 0), owned(64, 0);
    for (size_t l = 0; l < layers.size(); ++l) {
      const std::vector<float> weights = layers[l].weights.all();
      std::vector<uint32_t> words(weights.size());
      Carrier(key.master, static_cast<uint32_t>(l), layers[l].shape).words(0, words);
      const double scale = scale_of(layers[l]);
      const std::vector<int8_t> payload = payload_of(key.master, key.statement);
      for (size_t i = 0; i < words.size(); ++i) {
        const uint32_t bit = bit_of_word(words[i], 64);
        const double v = sign_of_word(words[i]) * payload[bit] * weights[i] / scale;
        owned[bit] += 1;
        skew[bit] += std::fabs(v) > t ? (v > 0 ? 1 : -1) : 0;
      }
    }
    for (size_t j = 0; j < 64; ++j) {
      // Which magnitudes a bit owns varies by itself: their number beyond t has a deviation below √owned.
      const double expected = target_skew(t, Density::gaussian(), mark.amplitude, mark.tau);
      CHECK(std::fabs(skew[j] / owned[j] - expected) < 0.03);
    }
  }
  // The stem and everything else are untouched.
  CHECK(after.at("conv1.weight").values == before.at("conv1.weight").values);

  Mark foreign = mark;
  foreign.layers[0].name = "nowhere";
  CHECK_THROWS_AS(choose_marked_signs(*network, foreign, key), Error);
}
