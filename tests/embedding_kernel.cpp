// The fused distribution-matching kernel against the specification written out as slow sums.
#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>
#include <cstring>

#include "tests/devices.h"
#include "tests/embedding_support.h"

using namespace dw;
using namespace dw::test;

namespace {

const std::vector<Shape> one_layer{{7, 11, 5, 3}};
const std::vector<Shape> three_layers{{3, 5, 3, 3}, {16, 16, 1, 1}, {7, 11, 5, 3}};
const std::vector<Shape> ten_layers{{3, 5, 3, 3},   {16, 16, 1, 1}, {7, 11, 5, 3},  {16, 16, 3, 3},
                                    {1, 1, 1, 1},   {13, 7, 3, 3},  {32, 16, 3, 3}, {32, 32, 3, 3},
                                    {64, 32, 1, 1}, {5, 1, 7, 7}};
// More weights than one block takes.
const std::vector<Shape> long_layer{{16, 16, 1, 1}, {257, 64, 3, 3}};

std::unique_ptr<BareFilters> filled(const std::vector<Shape>& shapes, Device device = cpu) {
  auto network = std::make_unique<BareFilters>(shapes, device);
  const std::vector<Tensor> marked = network->marked();
  constexpr uint64_t seed = 5;
  for (size_t l = 0; l < marked.size(); ++l) fill_layer(marked[l], l, seed);
  return network;
}

void start_gradients(const BareFilters& network, double deviation = 1e-3) {
  for (const Tensor& weight : network.marked()) {
    weight.set_grad(random_normal(weight.shape(), {9, 9, 9}, 0, deviation, DType::f32, weight.device())
                        .contiguous(weight.layout()));
  }
}

// What an embedder adds to gradients of zero, layer by layer in canonical order.
std::vector<std::vector<float>> added(const BareFilters& network, Embedder& embedder) {
  for (const Tensor& weight : network.marked()) weight.set_grad(Tensor::zeros_like(weight));
  embedder.add_gradients();
  std::vector<std::vector<float>> gradients;
  for (const Tensor& weight : network.marked()) gradients.push_back(weight.grad().to_vector<float>());
  return gradients;
}

struct Comparison {
  double loss = 0, loss_difference = 0;
  double norm = 0, difference = 0;  // of the gradient, root sum of squares
  size_t weights = 0, at_ramp_ends = 0;
};

Comparison compare(const BareFilters& network, int bits, const EmbedOptions& options) {
  const OwnerKey key = fixed_key(bits);
  Embedder embedder(network, "filters", key, options);
  start_gradients(network);
  const std::vector<Tensor> marked = network.marked();
  std::vector<std::vector<float>> before;
  std::vector<ReferenceLayer> layers;
  for (size_t l = 0; l < marked.size(); ++l) {
    before.push_back(marked[l].grad().to_vector<float>());
    layers.push_back(
        reference_layer(marked[l].to_vector<float>(), marked[l].shape(), static_cast<uint32_t>(l), key));
  }
  embedder.add_gradients();

  const ReferenceLoss reference(layers, embedder.mark());
  const std::vector<double> drift =
      options.keep_magnitudes ? reference.drift(layers) : std::vector<double>(knot_count + 1, 0);
  Comparison result;
  result.loss = reference.loss();
  result.loss_difference = std::fabs(embedder.loss() - result.loss);
  for (size_t l = 0; l < marked.size(); ++l) {
    const std::vector<float> after = marked[l].grad().to_vector<float>();
    const ReferenceLayer& layer = layers[l];
    for (size_t i = 0; i < after.size(); ++i) {
      ++result.weights;
      // There the rounding of v decides between two neighbouring slopes.
      if (at_ramp_end(layer.v[i])) {
        ++result.at_ramp_ends;
        continue;
      }
      const double u = layer.sign[i] * layer.v[i];
      const auto knot = static_cast<size_t>(std::min<double>(std::fabs(u) / knot_step + 0.5, knot_count));
      const double slope = layer.sign[i] * reference.slope(layer.v[i], layer.bit[i]);
      const double expected =
          options.lambda * bits * layer.scale * (slope - (u < 0 ? -drift[knot] : drift[knot]));
      const double found = static_cast<double>(after[i]) - static_cast<double>(before[l][i]);
      result.norm += expected * expected;
      result.difference += (found - expected) * (found - expected);
    }
  }
  result.norm = std::sqrt(result.norm);
  result.difference = std::sqrt(result.difference);
  return result;
}

void check_against_reference(const BareFilters& network, int bits, EmbedOptions options) {
  for (const int variant : {0, 1, 2}) {
    const bool one_sided = variant != 1;
    options.one_sided = one_sided;
    options.keep_magnitudes = variant != 2;
    const Comparison result = compare(network, bits, options);
    CAPTURE(bits);
    CAPTURE(one_sided);
    CAPTURE(result.weights);
    CAPTURE(result.loss_difference / result.loss);
    CAPTURE(result.difference / result.norm);
    CHECK(result.loss > 0.01);
    CHECK(result.loss_difference <= 1e-6 * result.loss);
    CHECK(result.norm > 0);
    CHECK(result.difference <= 1e-6 * result.norm);
    CHECK(result.at_ramp_ends * 1000 < result.weights + 1000);
  }
}

EmbedOptions moderate(const std::vector<Shape>& shapes, int bits) {
  EmbedOptions options;
  options.strength = moderate_strength(shapes, bits);
  return options;
}

}  // namespace

TEST_CASE("embedding: loss and gradient of the fused kernel equal the specification") {
  for_each_device([](Device device) {
    for (const std::vector<Shape>& shapes : {one_layer, three_layers, ten_layers}) {
      CAPTURE(shapes.size());
      const auto network = filled(shapes, device);
      // With one weight a bit the shares' rounding to 2^-20 is all there is.
      for (const int bits : {64, 100, 256, 257, shapes.size() == 1 ? 500 : 1000})
        check_against_reference(*network, bits, moderate(shapes, bits));
    }
  });
}

TEST_CASE("embedding: layers longer than a block's stretch") {
  for_each_device([](Device device) {
    const auto network = filled(long_layer, device);
    for (const int bits : {64, 257}) check_against_reference(*network, bits, moderate(long_layer, bits));
  });
}

TEST_CASE("embedding: more weights of a bit at one value than a 32-bit bin holds") {
  for_each_device([](Device device) {
    const std::vector<Shape> shapes{{1024, 128, 3, 3}};
    BareFilters network(shapes, device);
    const Tensor weight = network.marked()[0];
    weight.fill(0.1);
    const OwnerKey key = fixed_key(64);
    Embedder embedder(network, "filters", key, moderate(shapes, 64));
    weight.set_grad(Tensor::zeros_like(weight));
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    embedder.add_gradients();
    omp_set_num_threads(before);
    const ReferenceLoss reference({reference_layer(weight.to_vector<float>(), shapes[0], 0, key)},
                                  embedder.mark());
    CHECK(embedder.loss() == doctest::Approx(reference.loss()).epsilon(1e-6));
  });
}

TEST_CASE("embedding: a layer of zeros gets no gradient and does not disturb the others") {
  const auto network = filled(three_layers);
  network->marked()[1].fill(0);
  check_against_reference(*network, 64, moderate(three_layers, 64));
  Embedder embedder(*network, "filters", fixed_key(64), moderate(three_layers, 64));
  const auto gradients = added(*network, embedder);
  for (const float value : gradients[1]) CHECK(value == 0);
}

TEST_CASE("embedding: mostly pruned weights") {
  const auto network = filled(three_layers);
  for (const Tensor& weight : network->marked()) {
    std::vector<float> values = weight.to_vector<float>();
    for (size_t i = 0; i < values.size(); ++i) values[i] = i % 10 == 0 ? values[i] : 0;
    weight.copy_from(Tensor::from(values, weight.shape()));
  }
  check_against_reference(*network, 100, moderate(three_layers, 100));
}

TEST_CASE("embedding: magnitudes feel no pull on average") {
  const auto network = filled(long_layer);
  EmbedOptions options = moderate(long_layer, 64);
  double mean[2] = {0, 0};
  for (const bool kept : {false, true}) {
    options.keep_magnitudes = kept;
    Embedder embedder(*network, "filters", fixed_key(64), options);
    // Most of the way to the target, so that positive v are the more.
    for (int step = 0; step < 40; ++step) {
      const auto pulls = added(*network, embedder);
      const std::vector<Tensor> marked = network->marked();
      for (size_t l = 0; l < marked.size(); ++l) {
        std::vector<float> weights = marked[l].to_vector<float>();
        mean[kept] = 0;
        for (size_t i = 0; i < weights.size(); ++i) {
          mean[kept] += pulls[l][i] * (weights[i] < 0 ? -1 : 1) / static_cast<double>(weights.size());
          if (step < 39 && !kept) weights[i] -= 0.5F * pulls[l][i];
        }
        marked[l].copy_from(Tensor::from(weights, marked[l].shape()));
      }
    }
  }
  CHECK(std::fabs(mean[0]) > 0);
  CHECK(std::fabs(mean[1]) < 0.05 * std::fabs(mean[0]));
}

TEST_CASE("embedding: the reference's gradient is the derivative of its loss") {
  const OwnerKey key = fixed_key(64);
  const auto network = filled(one_layer);
  for (const bool one_sided : {true, false}) {
    EmbedOptions options = moderate(one_layer, 64);
    options.one_sided = one_sided;
    const Mark mark = Embedder(*network, "filters", key, options).mark();
    std::vector<ReferenceLayer> layers{
        reference_layer(network->marked()[0].to_vector<float>(), one_layer[0], 0, key)};
    const ReferenceLoss reference(layers, mark);
    int moving = 0;
    for (size_t i = 0; i < layers[0].v.size(); i += 37) {
      const double v = layers[0].v[i];
      constexpr double step = 1e-5;
      if (at_ramp_end(v)) continue;
      layers[0].v[i] = v + step;
      const double higher = ReferenceLoss(layers, mark).loss();
      layers[0].v[i] = v - step;
      const double lower = ReferenceLoss(layers, mark).loss();
      layers[0].v[i] = v;
      const double slope = reference.slope(v, layers[0].bit[i]);
      CHECK((higher - lower) / (2 * step) == doctest::Approx(slope).epsilon(1e-5).scale(0.01));
      moving += slope != 0;
    }
    CHECK(moving > 10);
  }
}

TEST_CASE("embedding: the same bits for any number of threads and from run to run") {
  for_each_device([](Device device) {
    const auto network = filled(long_layer, device);
    for (const int bits : {256, 257}) {
      Embedder embedder(*network, "filters", fixed_key(bits), moderate(long_layer, bits));
      const int threads = omp_get_max_threads();
      omp_set_num_threads(1);
      const auto expected = added(*network, embedder);
      const double loss = embedder.loss();
      for (const int count : {2, 3, 2}) {
        omp_set_num_threads(count);
        const auto found = added(*network, embedder);
        CHECK(embedder.loss() == loss);
        for (size_t l = 0; l < expected.size(); ++l)
          CHECK(std::memcmp(found[l].data(), expected[l].data(), expected[l].size() * sizeof(float)) == 0);
      }
      omp_set_num_threads(threads);
    }
  });
}

TEST_CASE("embedding: the gradient is linear in lambda and the loss does not depend on it") {
  const auto network = filled(three_layers);
  EmbedOptions options = moderate(three_layers, 64);
  Embedder single(*network, "filters", fixed_key(64), options);
  options.lambda *= 4;
  Embedder fourfold(*network, "filters", fixed_key(64), options);
  const auto weak = added(*network, single), strong = added(*network, fourfold);
  CHECK(single.loss() == fourfold.loss());
  for (size_t l = 0; l < weak.size(); ++l) {
    for (size_t i = 0; i < weak[l].size(); ++i) CHECK(strong[l][i] == 4 * weak[l][i]);
  }
}

TEST_CASE("embedding: the gradient is added to what is there") {
  const auto network = filled(three_layers);
  Embedder embedder(*network, "filters", fixed_key(64), moderate(three_layers, 64));
  const auto alone = added(*network, embedder);
  for (const Tensor& weight : network->marked()) {
    weight.set_grad(Tensor::full(weight.shape(), 2, DType::f32, cpu, weight.layout()));
  }
  embedder.add_gradients();
  const std::vector<Tensor> marked = network->marked();
  for (size_t l = 0; l < marked.size(); ++l) {
    const std::vector<float> found = marked[l].grad().to_vector<float>();
    for (size_t i = 0; i < found.size(); ++i)
      CHECK(found[i] == doctest::Approx(2 + alone[l][i]).epsilon(1e-6));
  }
}
