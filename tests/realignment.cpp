// Realignment: what it restores, and that it gives a stranger nothing.
#include "watermark/realignment.h"

#include <doctest/doctest.h>

#include <numeric>

#include "tests/attack_support.h"
#include "watermark/statistics.h"

using namespace dw;
using namespace dw::test;

namespace {

const NetworkSpec wide{"wrn-10-1", 10, 3, 8, 8};

// WRN-10-1 whose marked layers are drawn from the marked density.
struct Marked {
  OwnerKey key = fixed_key();
  Mark mark = wrn_mark();
  Model model;

  Marked() : model(random_model(wide, 1)) {
    const Weights weights = marked_weights(mark, key, 5);
    for (size_t l = 0; l < weights.size(); ++l) model.at(mark.layers[l].name).values = weights[l];
  }
  Reading read(const Model& suspect) const {
    std::vector<LayerWeights> layers;
    for (const MarkedLayer& layer : mark.layers)
      layers.push_back({layer.name, layer.shape, suspect.at(layer.name).values});
    return Reader(layers, mark).read(key.master, payload_of(key.master, key.statement));
  }
};

}  // namespace

TEST_CASE("assignment: the best of all, found by trying them all") {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const int64_t rows = 1 + seed % 6, columns = rows + seed % 3;
    const std::vector<double> benefit =
        random_normal({rows * columns}, {seed, 13, 0}, 0, 1, DType::f64).to_vector<double>();
    const std::vector<int64_t> chosen = best_assignment(benefit, rows, columns);
    const auto value = [&](const std::vector<int64_t>& columns_of) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) sum += benefit[size_t(r * columns + columns_of[size_t(r)])];
      return sum;
    };
    std::vector<int64_t> order(static_cast<size_t>(columns));
    std::iota(order.begin(), order.end(), 0);
    double best = -INFINITY;
    do best = std::max(best, value(order));
    while (std::ranges::next_permutation(order).found);
    CHECK(value(chosen) == doctest::Approx(best));
    std::vector<int64_t> sorted = chosen;
    std::ranges::sort(sorted);
    CHECK(std::ranges::adjacent_find(sorted) == sorted.end());
  }
  CHECK(best_assignment({}, 0, 3).empty());
  CHECK_THROWS_AS(best_assignment(std::vector<double>{1, 2}, 2, 1), Error);
  CHECK_THROWS_AS(best_assignment(std::vector<double>{NAN}, 1, 1), Error);
}

TEST_CASE("realignment: every transform, alone and in chains, reads without a bit error again") {
  const Marked owner;
  REQUIRE(owner.read(owner.model).bit_error_rate == 0);
  for (const char* const attack :
       {"permute", "rescale", "flip", "dummy", "permute,rescale,flip", "dummy:0.25,permute,rescale:8,flip",
        "prune:0.5,permute,rescale,flip", "permute,rescale:1.5,flip,prune:0.5",
        "noise:0.3,dummy,permute,rescale,flip", "quantise:4,permute,flip"}) {
    CAPTURE(attack);
    const Model suspect = attacked(owner.model, attack, 3);
    const Realignment aligned = realign(suspect, owner.model);
    CHECK(owner.read(aligned.model).bit_error_rate == 0);
    CHECK(aligned.alternatives == 2);
    for (const ModelTensor& tensor : owner.model.tensors)
      CHECK(aligned.model.at(tensor.name).shape == tensor.shape);
    // It is still the same network.
    const Tensor pictures = random_pictures(wide, 2, 1);
    const std::vector<float> before = logits_of(suspect, pictures),
                             after = logits_of(aligned.model, pictures);
    const auto [least, greatest] = std::ranges::minmax(before);
    CHECK(largest_difference(before, after) < 1e-3 * (greatest - least));
  }
}

TEST_CASE("realignment: needed after each transform but the added channels' own") {
  const Marked owner;
  for (const char* const attack : {"permute", "flip"}) {
    CAPTURE(attack);
    CHECK(owner.read(attacked(owner.model, attack, 3)).bit_error_rate > 0.2);
  }
}

TEST_CASE("realignment: a copy stays as it is, and what was done is reported") {
  const Marked owner;
  const Realignment same = realign(owner.model, owner.model);
  for (const ModelTensor& tensor : owner.model.tensors)
    CHECK(largest_difference(same.model.at(tensor.name).values, tensor.values) < 1e-5);
  for (const GroupAlignment& group : same.groups) {
    CHECK(group.moved == 0);
    CHECK(group.flipped == 0);
    CHECK(group.similarity == doctest::Approx(1).epsilon(1e-4));
  }
  const Realignment other = realign(attacked(owner.model, "dummy:0.5,permute,flip:1", 4), owner.model);
  for (const GroupAlignment& group : other.groups) {
    CHECK(group.candidates > group.channels);
    CHECK(group.moved > group.channels / 2);
    CHECK(group.flipped == group.channels);
    CHECK(group.similarity == doctest::Approx(1).epsilon(1e-4));
  }
}

TEST_CASE("realignment: batch norm tells channels apart where pruning has left few weights") {
  const Marked owner;
  const double pruned = owner.read(attacked(owner.model, "prune:0.99", 5)).bit_error_rate;
  const Model disguised = attacked(owner.model, "prune:0.99,dummy:0.25,permute,rescale,flip", 5);
  CHECK(owner.read(realign(disguised, owner.model).model).bit_error_rate <= pruned + 0.01);
}

TEST_CASE("realignment: batch norm before the residual sum") {
  const Model resnet = random_model(small_resnet, 2);
  const Model shuffled = attacked(resnet, "permute,rescale,flip,dummy:0.02,permute,flip", 9);
  const Realignment aligned = realign(shuffled, resnet);
  for (const ModelTensor& tensor : resnet.tensors) {
    CAPTURE(tensor.name);
    CHECK(largest_difference(aligned.model.at(tensor.name).values, tensor.values) < 1e-3);
  }
}

TEST_CASE("realignment: a chain without batch norm, and a new last layer") {
  const Model lenet = random_model(small_lenet, 2);
  const Model shuffled = attacked(lenet, "permute,rescale,dummy:0.3,permute", 9);
  const Realignment aligned = realign(shuffled, lenet);
  for (const ModelTensor& tensor : lenet.tensors) {
    CAPTURE(tensor.name);
    CHECK(largest_difference(aligned.model.at(tensor.name).values, tensor.values) < 1e-3);
  }
  const Marked owner;
  Model moved = attacked(owner.model, "permute,flip", 9);
  moved.at("fc.weight") = {"fc.weight", {3, 64}, std::vector<float>(3 * 64, 0.1F)};
  moved.at("fc.bias") = {"fc.bias", {3}, {0, 0, 0}};
  moved.metadata["classes"] = "3";
  const Realignment transferred = realign(moved, owner.model);
  CHECK(owner.read(transferred.model).bit_error_rate == 0);
  CHECK(spec_of(transferred.model).classes == 3);
}

TEST_CASE("realignment gives a stranger nothing: matches of unmarked networks follow the binomial") {
  const Marked owner;
  std::vector<BinomialDraw> draws;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    Model stranger = random_model(wide, 1000 + seed);
    const Weights weights = natural_weights(owner.mark, 2000 + seed);
    for (size_t l = 0; l < weights.size(); ++l) stranger.at(owner.mark.layers[l].name).values = weights[l];
    const Matches matches = owner.read(realign(stranger, owner.model).model).matches;
    draws.push_back({matches.matches, matches.readable});
  }
  CHECK(binomial_fit_p_value(draws, 1) > 0.001);
  double sum = 0;
  for (const BinomialDraw& draw : draws) sum += static_cast<double>(draw.successes);
  const double deviation = std::sqrt(256.0 / 4 / 30);
  CHECK(std::fabs(sum / 30 - 128) < 4 * deviation);
}

TEST_CASE("realignment: what cannot be compared is refused") {
  const Marked owner;
  const Model other = random_model(small_lenet, 1);
  CHECK_THROWS_AS(realign(other, owner.model), Error);
  Model narrow = owner.model;
  narrow.at("block1.layer.0.conv1.weight") = {
      "block1.layer.0.conv1.weight", {15, 16, 3, 3}, std::vector<float>(15 * 16 * 9, 1)};
  CHECK(contains(error_of([&] { realign(narrow, owner.model); }), "16 channels, the suspect 15"));
  Model broken = owner.model;
  broken.at("conv1.weight").values[3] = NAN;
  CHECK(contains(error_of([&] { realign(broken, owner.model); }), "not finite"));
  const Model deeper = random_model({"wrn-16-1", 10, 3, 8, 8}, 1);
  CHECK(contains(error_of([&] { realign(deeper, owner.model); }), "the original has no block1.layer.1"));
}
