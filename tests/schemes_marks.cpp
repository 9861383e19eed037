// Every white-box scheme: what it embeds is read back, by its key alone, and strangers' keys follow theory.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/schemes_support.h"
#include "watermark/embedder.h"

using namespace dw;
using namespace dw::test;

namespace {

std::unique_ptr<Module> fresh_network() {
  auto network = make_network({"wrn-10-1"});
  network->initialize(3);
  return network;
}

}  // namespace

TEST_CASE("schemes: what each scheme embeds is read by its key alone, and proves ownership") {
  OwnerKey stranger = fixed_key(scheme_bits);
  stranger.master = null_master(7, 1);
  for (const SchemeCase& tried : white_box_cases()) {
    CAPTURE(text_of(tried));
    const auto network = fresh_network();
    const OwnerKey key = fixed_key(scheme_bits);
    const Scheme& scheme = scheme_named(tried.scheme);
    const auto embedding = scheme.embed(*network, "wrn-10-1", key, {.values = tried.options});
    const Mark& mark = embedding->mark();
    CHECK(mark.scheme == tried.scheme);
    CHECK(mark.bits == scheme_bits);
    const Matches before = read_from(*network, mark, key);
    CHECK(std::abs(before.matches - scheme_bits / 2) < 30);

    const Claim claim = claim_of(key, mark);
    const VerifyOptions no_strangers{.null_keys = 0};
    CHECK_FALSE(verify(claim, key, model_of(*network, {}), "unmarked", "", no_strangers).owned);
    pull(*network, *embedding, tried.step, 60);
    const Matches after = read_from(*network, mark, key);
    CHECK(after.matches == scheme_bits);
    CHECK(after.readable == scheme_bits);
    CHECK(std::abs(read_from(*network, mark, stranger).matches - scheme_bits / 2) < 30);
    const Verdict marked = verify(claim, key, model_of(*network, {}), "marked", "", no_strangers);
    CHECK(marked.owned);
    CHECK(marked.scheme == tried.scheme);
    CHECK(marked.bit_error_rate == 0);
    CHECK(marked.log2_p == doctest::Approx(1 - scheme_bits));
  }
}

TEST_CASE("schemes: a fresh network starts with the mark in its signs, a finished one keeps its weights") {
  const OwnerKey key = fixed_key(scheme_bits);
  const Scheme& scheme = scheme_named("deepwater");
  const auto finished = fresh_network(), fresh = fresh_network();
  const auto weights = [](const Module& network) {
    const std::vector<NamedTensor> parameters = network.parameters();
    const auto found = std::ranges::find(parameters, "block1.layer.0.conv1.weight", &NamedTensor::name);
    REQUIRE(found != parameters.end());
    return found->tensor.to_vector<float>();
  };
  const std::vector<float> before = weights(*finished);

  const auto pushed = scheme.embed(*finished, "n", key, {.values = {{"strength", "7"}}});
  CHECK(pushed->mark().match == "skew");
  CHECK(weights(*finished) == before);
  const std::string refusal = error_of([&] {
    scheme.embed(*finished, "n", key, {.values = {{"strength", "7"}, {"start", "marked"}}});
  });
  CHECK(contains(refusal, "finished network"));

  const auto held = scheme.embed(*fresh, "n", key, {.values = {{"strength", "7"}}, .fresh = true});
  CHECK(held->mark().match == "full");
  CHECK(read_from(*fresh, held->mark(), key).matches == scheme_bits);
  const std::vector<float> after = weights(*fresh);
  CHECK(after != before);
  for (size_t i = 0; i < before.size(); ++i) REQUIRE(std::fabs(after[i]) == std::fabs(before[i]));
}

TEST_CASE(
    "schemes: by default a finished network is marked as strongly as an amplitude of a quarter allows") {
  const Scheme& scheme = scheme_named("deepwater");
  const auto mark_of = [&](const std::string& network, int bits) {
    const auto finished = make_network({network});
    finished->initialize(1);
    return scheme.embed(*finished, network, fixed_key(bits), {})->mark();
  };
  const Mark small = mark_of("wrn-10-1", 256);
  CHECK(small.amplitude <= 0.25);
  CHECK(small.amplitude > 0.24);
  CHECK(mark_of("wrn-10-1", 1024).strength == 2);  // not what a quarter allows: bits would drown in chance
  CHECK(mark_of("wrn-16-4", 64).strength == 10);
  const auto spared = make_network({"wrn-10-1"});
  spared->initialize(1);
  CHECK(scheme.embed(*spared, "wrn-10-1", fixed_key(256), {.sparing = false})->mark().strength == 10);
}

TEST_CASE("schemes: without data the largest layers that hold half of the weights are marked") {
  const auto network = make_network({"wrn-10-1"});
  network->initialize(1);
  const auto marked = [&](const SchemeOptions& options) {
    uint64_t weights = 0, smallest = UINT64_MAX;
    const auto embedding = scheme_named("deepwater").embed(*network, "wrn-10-1", fixed_key(64), options);
    for (const MarkedLayer& layer : embedding->mark().layers) {
      weights += weight_count(layer);
      smallest = std::min(smallest, weight_count(layer));
    }
    return std::pair(weights, smallest);
  };
  const auto [all, smallest_of_all] = marked({});
  const auto [some, smallest_of_some] = marked({.without_data = true});
  CHECK(2 * some >= all);
  CHECK(2 * (some - smallest_of_some) < all);  // one fewer would not do
  CHECK(smallest_of_some > smallest_of_all);
  CHECK(marked({.layers = {"block1.layer.0.conv1.weight"}, .without_data = true}).first == 16 * 16 * 9);
}

TEST_CASE("schemes: the default pull moves weights by as much at any learning rate") {
  const OwnerKey key = fixed_key(scheme_bits);
  const Scheme& scheme = scheme_named("deepwater");
  const auto gradient_of = [&](const SchemeOptions& options) {
    const auto network = fresh_network();
    const auto embedding = scheme.embed(*network, "n", key, options);
    const Tensor weight = tensors_to_mark(*network, {}).front().tensor;
    for (const NamedTensor& parameter : network->parameters())
      parameter.tensor.set_grad(Tensor::zeros_like(parameter.tensor));
    embedding->term()->add_gradients();
    return weight.grad().to_vector<float>();
  };
  const std::vector<float> slow = gradient_of({.learning_rate = 0.02}),
                           fast = gradient_of({.learning_rate = 0.1});
  const std::vector<float> told = gradient_of({.values = {{"lambda", "0.4"}}});
  for (size_t i = 0; i < slow.size(); ++i) {
    REQUIRE(slow[i] == doctest::Approx(told[i]));
    REQUIRE(slow[i] == doctest::Approx(5 * fast[i]));
  }
}

TEST_CASE("schemes: strangers' keys follow the binomial on unmarked and on marked networks") {
  std::string done;
  for (const SchemeCase& tried : white_box_cases()) {
    if (tried.scheme == done) continue;
    done = tried.scheme;
    CAPTURE(text_of(tried));
    const auto network = fresh_network();
    const OwnerKey key = fixed_key(64);
    const auto embedding =
        scheme_named(tried.scheme).embed(*network, "wrn-10-1", key, {.values = tried.options});
    const Claim claim = claim_of(key, embedding->mark());
    for (const bool marked : {false, true}) {
      CAPTURE(marked);
      if (marked) pull(*network, *embedding, tried.step, 40);
      const Verdict verdict = verify(claim, key, model_of(*network, {}), "model", "");
      CHECK(verdict.null_keys == 1000);
      CHECK(verdict.null_uniform_p > 0.01);
      CHECK(std::fabs(verdict.null_matches_mean - 32) < 5 * 4 / std::sqrt(1000.0));
      CHECK(std::fabs(verdict.null_matches_deviation - 4) < 5 * 4 / std::sqrt(2000.0));
    }
  }
}

TEST_CASE("schemes: the registry names ours first and every scheme once") {
  CHECK(schemes().front()->name() == "deepwater");
  for (const Scheme* scheme : schemes()) {
    CHECK(&scheme_named(scheme->name()) == scheme);
    CHECK(scheme->description().size() > 20);
  }
  CHECK(find_scheme("rot13") == nullptr);
  CHECK(contains(error_of([] { scheme_named("rot13"); }), "there are deepwater, uchida"));
}

TEST_CASE("schemes: options and layers that do not fit are usage errors that say why") {
  const auto network = fresh_network();
  const auto message = [&](const std::string& scheme, SchemeOptions options, int bits = 64) -> std::string {
    try {
      scheme_named(scheme).embed(*network, "n", fixed_key(bits), options);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  for (const Scheme* scheme : schemes()) {
    CAPTURE(scheme->name());
    CHECK(message(scheme->name(), {}) == "");
    CHECK(contains(message(scheme->name(), {.values = {{"colour", "7"}}}), "no option \"colour\""));
  }
  CHECK(contains(message("deepwater", {.values = {{"match", "w3"}}}), "skew, full, w2"));
  CHECK(contains(message("deepwater", {.values = {{"strength", "0"}}}), "above 0"));
  CHECK(contains(message("deepwater", {.values = {{"lambda", "nan"}}}), "above 0"));
  CHECK(contains(message("uchida", {.values = {{"matrix", "sparse"}}}), "random, direct, diff"));
  CHECK(contains(message("uchida", {.values = {{"lambda", "1x"}}}), "expected a number"));
  CHECK(contains(message("uchida", {}, 512), "payload too large"));
  CHECK(contains(message("neuralmark", {.values = {{"rounds", "9"}}}), "payload too large"));
  CHECK(contains(message("neuralmark", {.values = {{"rounds", "2.5"}}}), "whole number"));
  CHECK(contains(message("greedy-residual", {.values = {{"keep", "1.5"}}}), "at most 1"));
  CHECK(contains(message("greedy-residual", {.values = {{"columns", "5000"}}}), "payload too large"));
  const SchemeOptions two{.layers = {"block1.layer.0.conv1.weight", "block1.layer.0.conv2.weight"}};
  CHECK(contains(message("uchida", two), "marks one layer"));
  CHECK(contains(message("neuralmark", two), "marks one layer"));
  CHECK(message("greedy-residual", two) == "");
  CHECK(contains(message("trigger-set", two), "marks no layers"));
  CHECK(contains(message("uchida", {.layers = {"fc.weight"}}), "fc.weight"));
}

TEST_CASE("schemes: each marks the layers that its publication does") {
  const auto network = fresh_network();
  const auto layers = [&](const std::string& scheme) {
    return scheme_named(scheme).embed(*network, "n", fixed_key(64), {})->mark().layers;
  };
  CHECK(layers("uchida") == std::vector<MarkedLayer>{{"block2.layer.0.conv2.weight", {32, 32, 3, 3}}});
  CHECK(layers("neuralmark") == std::vector<MarkedLayer>{{"block3.layer.0.conv2.weight", {64, 64, 3, 3}}});
  CHECK(layers("greedy-residual") == layers("neuralmark"));
  CHECK(layers("deepwater").size() == 8);
}

TEST_CASE("schemes: a suspect with some of the marked layers is read by those") {
  const auto network = fresh_network();
  const OwnerKey key = fixed_key(scheme_bits);
  const auto embedding = scheme_named("deepwater").embed(*network, "n", key, {.values = {{"strength", "7"}}});
  pull(*network, *embedding, 1, 60);
  const Claim claim = claim_of(key, embedding->mark());
  Model suspect = model_of(*network, {});
  const Verdict whole = verify(claim, key, suspect, "whole", "");
  std::erase_if(suspect.tensors,
                [](const ModelTensor& tensor) { return tensor.name.starts_with("block1."); });
  suspect.at("block2.layer.0.conv1.weight").shape = {32, 16, 9};
  const Verdict part = verify(claim, key, suspect, "part", "");
  CHECK(part.owned);
  REQUIRE(part.layers.size() == whole.layers.size());
  int64_t missing = 0;
  for (size_t l = 0; l < part.layers.size(); ++l) {
    const LayerReading &there = whole.layers[l], &here = part.layers[l];
    CAPTURE(here.name);
    CHECK(there.present);
    const bool expected = !here.name.starts_with("block1.") && here.name != "block2.layer.0.conv1.weight";
    CHECK(here.present == expected);
    missing += !here.present;
    if (here.present) {
      // A layer alone says the same whether the others are there or not: its place in the mark keys its
      // carrier.
      CHECK(here.matches.matches == there.matches.matches);
      CHECK(here.log2_p == there.log2_p);
    } else {
      CHECK(here.matches.readable == 0);
      CHECK(here.log2_p == 0);
    }
  }
  CHECK(missing == 3);
  const LayerReading& largest =
      whole.layers[5].weights > whole.layers[6].weights ? whole.layers[5] : whole.layers[6];
  CHECK(largest.log2_p < -64);
  CHECK(largest.log2_p >= whole.log2_p);
  // Nothing left that is marked.
  std::erase_if(suspect.tensors, [](const ModelTensor& tensor) { return tensor.name.starts_with("block"); });
  CHECK(contains(error_of([&] { verify(claim, key, suspect, "nothing", ""); }), "fit none"));
  CHECK(contains(error_of([&] { reader_of(suspect, embedding->mark()); }), "none of the 8"));
}

TEST_CASE("schemes: the scheme and its parameters are signed") {
  const auto network = fresh_network();
  const OwnerKey key = fixed_key(64);
  const ScratchFolder folder;
  for (const Scheme* scheme : schemes()) {
    CAPTURE(scheme->name());
    const Mark mark = scheme->embed(*network, "wrn-10-1", key, {})->mark();
    const Claim claim = claim_of(key, mark);
    save_claim(claim, folder / "claim");
    CHECK(load_claim(folder / "claim").marks[0].mark == mark);
    Claim tampered = claim;
    tampered.marks[0].mark.scheme = "other";
    CHECK_FALSE(error_of([&] { check_claim(tampered, "claim"); }).empty());
    for (const auto& [name, value] : mark.parameters) {
      tampered = claim;
      tampered.marks[0].mark.parameters[name] = value + 1;
      CHECK(contains(error_of([&] { check_claim(tampered, "claim"); }), "signature does not fit"));
    }
    if (mark.parameters.empty()) continue;
    tampered = claim;
    tampered.marks[0].mark.parameters["one-more"] = 0;
    CHECK(contains(error_of([&] { check_claim(tampered, "claim"); }), "signature does not fit"));
    tampered.marks[0].mark.parameters["one more"] = 0;
    CHECK(contains(error_of([&] { check_claim(tampered, "claim"); }), "lower-case word"));
    tampered = claim;
    tampered.marks[0].mark.amplitude = 0.5;
    CHECK(contains(error_of([&] { check_claim(tampered, "claim"); }), "belong to scheme 'deepwater'"));
  }
}

TEST_CASE("schemes: a signed mark of a scheme this program does not know is an error that names it") {
  const OwnerKey key = fixed_key(64);
  Mark mark = other_mark("from-tomorrow", "n", 64);
  mark.layers = {{"conv1.weight", {16, 3, 3, 3}}};
  const auto network = fresh_network();
  CHECK(contains(error_of([&] { verify(claim_of(key, mark), key, model_of(*network, {}), "m", ""); }),
                 "from-tomorrow is not known"));
}
