// The mark's kernel on CUDA beside the CPU's.
#include <doctest/doctest.h>

#include "core/random.h"
#include "tests/embedding_support.h"

using namespace dw;
using namespace dw::test;

namespace {

constexpr Device gpu{DeviceType::cuda, 0};

struct Pull {
  std::vector<std::vector<float>> gradients;
  double loss;
};

Pull pull_of(Device device, int bits) {
  const std::vector<Shape> shapes{{64, 16, 3, 3}, {64, 64, 3, 3}, {256, 64, 1, 1}, {128, 128, 3, 3}};
  BareFilters network(shapes);
  for (uint32_t l = 0; const NamedTensor& layer : network.parameters())
    layer.tensor.copy_from(random_normal(layer.tensor.shape(), {5, 1, l++}, 0, 0.02));
  network.to(device);
  const OwnerKey key = fixed_key(bits);
  Embedder embedder(network, "filters", key, EmbedOptions{.strength = 4});
  for (const NamedTensor& layer : network.parameters())
    layer.tensor.set_grad(Tensor::zeros_like(layer.tensor));
  embedder.add_gradients();
  Pull pull{{}, embedder.loss()};
  for (const NamedTensor& layer : network.parameters())
    pull.gradients.push_back(layer.tensor.grad().to_vector<float>());
  return pull;
}

}  // namespace

TEST_CASE("CUDA beside the CPU: the mark's gradient, the same bits from run to run") {
  if (cuda_device_count() == 0) {
    MESSAGE("no CUDA device: skipped");
    return;
  }
  for (const int bits : {64, 256, 300}) {
    CAPTURE(bits);
    const Pull expected = pull_of(cpu, bits), found = pull_of(gpu, bits), again = pull_of(gpu, bits);
    CHECK(found.gradients == again.gradients);
    CHECK(found.loss == again.loss);
    CHECK(found.loss == doctest::Approx(expected.loss).epsilon(1e-5));
    double difference = 0, norm = 0;
    for (size_t l = 0; l < expected.gradients.size(); ++l) {
      for (size_t i = 0; i < expected.gradients[l].size(); ++i) {
        const double e = expected.gradients[l][i], d = found.gradients[l][i] - e;
        norm += e * e;
        difference += d * d;
      }
    }
    // A scale rounded the other way moves a few weights to the next knot.
    CHECK(norm > 0);
    CHECK(std::sqrt(difference / norm) < 1e-3);
  }
}
