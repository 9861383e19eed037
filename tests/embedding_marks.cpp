// What can be marked, and that weights drawn by the embedder's gradient alone carry a mark that the verifier
// reads from a file, before and after pruning.
#include <doctest/doctest.h>

#include <cmath>

#include "core/ops.h"
#include "layers/networks.h"
#include "tests/embedding_support.h"
#include "watermark/pruning.h"
#include "watermark/verifier.h"

using namespace dw;
using namespace dw::test;

namespace {

struct LayerShape {
  double scale = 0, kurtosis = 0;
};

LayerShape shape_of(const Tensor& weight) {
  double second = 0, fourth = 0;
  for (const double w : weight.to_vector<float>()) {
    second += w * w;
    fourth += w * w * w * w;
  }
  const auto n = static_cast<double>(weight.numel());
  return {std::sqrt(second / n), n * fourth / (second * second)};
}

std::vector<Tensor> marked_weights_of(const Module& network, const Mark& mark) {
  std::vector<Tensor> weights;
  for (const MarkedLayer& layer : mark.layers) {
    for (const NamedTensor& entry : network.parameters()) {
      if (entry.name == layer.name) weights.push_back(entry.tensor);
    }
  }
  return weights;
}

// Descends the mark's loss alone until a hundredth of it is left. Returns the steps that took.
int descend(const Module& network, Embedder& embedder) {
  const std::vector<Tensor> weights = marked_weights_of(network, embedder.mark());
  double start = 0;
  constexpr int most_steps = 500;
  for (int step = 0; step < most_steps; ++step) {
    for (const Tensor& weight : weights) weight.set_grad(Tensor::zeros_like(weight));
    embedder.add_gradients();
    if (step == 0) start = embedder.loss();
    if (embedder.loss() < 1e-2 * start) return step;
    for (const Tensor& weight : weights) weight.copy_from(weight - weight.grad());
  }
  return most_steps;
}

std::string message_of(const Module& network, const OwnerKey& key, const EmbedOptions& options) {
  try {
    Embedder(network, "network", key, options);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("embedding: a network drawn to the mark is owned, and stays so when pruned") {
  const ScratchFolder folder;
  const auto network = make_network({"wrn-10-1"});
  network->initialize(3);
  const OwnerKey key = fixed_key(256);
  EmbedOptions options;
  options.strength = 7;
  Embedder embedder(*network, "wrn-10-1", key, options);
  save_module(*network, folder / "unmarked.safetensors", {});
  CHECK(descend(*network, embedder) < 500);
  save_module(*network, folder / "model.safetensors", {});

  Claim claim = make_claim(key);
  CHECK(add_mark(claim, key, embedder.mark()));
  const VerifyOptions verification{.null_keys = 50};
  const Verdict whole = verify(claim, key, SafetensorsFile::open(folder / "model.safetensors"), verification);
  CHECK(whole.owned);
  CHECK(whole.bit_error_rate == 0);
  CHECK_FALSE(verify(claim, key, SafetensorsFile::open(folder / "unmarked.safetensors"), verification).owned);

  for (const double fraction : {0.65, 0.9}) {
    const auto path = folder / "pruned.safetensors";
    prune_model(folder / "model.safetensors", path, fraction, PruningScope::layer);
    const Verdict pruned = verify(claim, key, SafetensorsFile::open(path), verification);
    CAPTURE(fraction);
    CAPTURE(pruned.bit_error_rate);
    CHECK(pruned.owned);
  }
}

TEST_CASE("embedding: the layers' own distribution stays nearly what it was") {
  struct Case {
    int bits;
    double scale, kurtosis;  // relative change of the first, change of the second, at most
  };
  // The fewer bits share the weights, the smaller the tilt: amplitudes of about 0.65 and 0.32.
  for (const auto& [bits, scale, kurtosis] : {Case{256, 0.12, 0.6}, Case{64, 0.04, 0.25}}) {
    const auto network = make_network({"wrn-10-1"});
    network->initialize(3);
    EmbedOptions options;
    options.strength = 7;
    Embedder embedder(*network, "wrn-10-1", fixed_key(bits), options);
    const std::vector<Tensor> weights = marked_weights_of(*network, embedder.mark());
    std::vector<LayerShape> before;
    for (const Tensor& weight : weights) before.push_back(shape_of(weight));
    descend(*network, embedder);
    for (size_t l = 0; l < weights.size(); ++l) {
      const LayerShape after = shape_of(weights[l]);
      CAPTURE(bits);
      CAPTURE(embedder.mark().layers[l].name);
      CHECK(std::fabs(after.scale / before[l].scale - 1) < scale);
      CHECK(std::fabs(after.kurtosis - before[l].kurtosis) < kurtosis);
    }
  }
}

TEST_CASE("embedding: every convolution but the one that reads the image is marked") {
  const auto wide = make_network({"wrn-10-1"});
  const std::vector<MarkedLayer> layers = default_marked_layers(*wide);
  const Mark expected = wrn_mark();
  CHECK(layers.size() == expected.layers.size());
  for (const MarkedLayer& layer : expected.layers)
    CHECK(std::find(layers.begin(), layers.end(), layer) != layers.end());

  const auto small = make_network({"lenet-5"});
  CHECK(default_marked_layers(*small) == std::vector<MarkedLayer>{{"conv2.weight", {16, 6, 5, 5}}});
  CHECK(default_marked_layers(*make_network({"mlp"})).empty());
}

TEST_CASE("embedding: the mark says how it was made") {
  const auto network = make_network({"wrn-10-1"});
  network->initialize(1);
  EmbedOptions options;
  options.strength = 5;
  options.tau = 0.8;
  options.one_sided = false;
  options.density = "host";
  options.layers = {"block3.layer.0.conv2.weight", "block2.layer.0.conv2.weight"};
  const Mark mark = Embedder(*network, "wrn-10-1", fixed_key(128), options).mark();
  CHECK(mark.network == "wrn-10-1");
  CHECK(mark.layers == std::vector<MarkedLayer>{{"block3.layer.0.conv2.weight", {64, 64, 3, 3}},
                                                {"block2.layer.0.conv2.weight", {32, 32, 3, 3}}});
  CHECK(mark.bits == 128);
  CHECK(mark.strength == 5);
  CHECK(mark.tau == 0.8);
  CHECK(mark.density == "host");
  CHECK(mark.match == "full");
  // z* / (sqrt(m) E|x| tanh(|x| / tau)); the expectation is about 0.6.
  const double group = (64.0 * 64 * 9 + 32.0 * 32 * 9) / 128;
  CHECK(mark.amplitude * std::sqrt(group) / 5 == doctest::Approx(1 / 0.6).epsilon(0.1));
}

TEST_CASE("embedding: what cannot be marked is a usage error that says why") {
  const auto wide = make_network({"wrn-10-1"});
  wide->initialize(1);
  CHECK(contains(message_of(*wide, fixed_key(4096), {}), "payload too large"));
  CHECK(contains(message_of(*wide, fixed_key(4096), {}), "the largest payload that fits is"));
  CHECK(contains(message_of(*make_network({"lenet-5"}), fixed_key(256), {}), "not even 64 bits fit"));
  CHECK(contains(message_of(*make_network({"mlp"}), fixed_key(64), {}), "no convolution"));

  EmbedOptions options;
  options.layers = {"block9.conv.weight"};
  CHECK(contains(message_of(*wide, fixed_key(64), options), "block9.conv.weight"));
  options.layers = {"fc.weight"};
  CHECK(contains(message_of(*wide, fixed_key(64), options), "fc.weight"));
  options = {};
  options.density = "cauchy";
  CHECK(contains(message_of(*wide, fixed_key(64), options), "cauchy"));
  options = {};
  options.strength = -1;
  CHECK(contains(message_of(*wide, fixed_key(64), options), "strength"));
}

TEST_CASE("embedding: a layer named twice is refused") {
  const auto wide = make_network({"wrn-10-1"});
  wide->initialize(1);
  EmbedOptions options;
  options.layers = {"block3.layer.0.conv2.weight", "block3.layer.0.conv2.weight"};
  CHECK(contains(message_of(*wide, fixed_key(64), options), "twice"));
}

TEST_CASE("embedding: parameters that are not f32, or without a gradient, are refused") {
  const auto wide = make_network({"wrn-10-1"});
  wide->initialize(1);
  Embedder embedder(*wide, "wrn-10-1", fixed_key(64), {});
  CHECK(contains(error_of([&] { embedder.add_gradients(); }), "no gradient"));
  wide->to(DType::f64);
  CHECK(contains(error_of([&] { Embedder(*wide, "wrn-10-1", fixed_key(64), {}); }), "f32"));
}
