// ResNet-18: torchvision's names and shapes, and what its blocks compute.
#include "layers/resnet.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "core/tape.h"
#include "layers/networks.h"

using namespace dw;

TEST_CASE("resnet-18: torchvision's parameter names and shapes") {
  const auto network = make_network({.name = "resnet-18"});
  std::map<std::string, Shape> shapes;
  int64_t count = 0;
  for (const auto& [name, tensor] : network->parameters()) {
    shapes[name] = tensor.shape();
    count += tensor.numel();
  }
  CHECK(count == 11'173'962);  // torchvision's resnet18 has 11,689,512 with a 7×7 stem and 1000 classes
  CHECK(shapes.size() == 62);
  CHECK(shapes["conv1.weight"] == Shape{64, 3, 3, 3});
  CHECK(shapes["bn1.weight"] == Shape{64});
  CHECK(shapes["layer1.0.conv1.weight"] == Shape{64, 64, 3, 3});
  CHECK(shapes["layer1.1.bn2.bias"] == Shape{64});
  CHECK(shapes.count("layer1.0.downsample.0.weight") == 0);
  CHECK(shapes["layer2.0.conv1.weight"] == Shape{128, 64, 3, 3});
  CHECK(shapes["layer2.0.downsample.0.weight"] == Shape{128, 64, 1, 1});
  CHECK(shapes["layer2.0.downsample.1.bias"] == Shape{128});
  CHECK(shapes["layer4.1.conv2.weight"] == Shape{512, 512, 3, 3});
  CHECK(shapes["fc.weight"] == Shape{10, 512});
  CHECK(shapes["fc.bias"] == Shape{10});
  CHECK(network->buffers().size() == 40);
}

TEST_CASE("resnet-18: every parameter gets a gradient that is not zero") {
  const auto network = make_network({.name = "resnet-18", .classes = 3, .channels = 1});
  network->initialize(1);
  const Tensor images = random_normal({4, 1, 8, 8}, {1, 2, 3});
  {
    Tape tape;
    const Tensor logits = (*network)(images);
    CHECK(logits.shape() == Shape{4, 3});
    tape.backward(cross_entropy(logits, Tensor::from(std::vector<int64_t>{0, 1, 2, 0}, {4})));
  }
  for (const auto& [name, tensor] : network->parameters()) {
    CAPTURE(name);
    REQUIRE(tensor.grad().defined());
    CHECK(maximum_over(absolute(tensor.grad()).reshape({1, -1}), 1).to_vector<float>()[0] > 0);
    CHECK(all_finite(tensor.grad()));
  }
}

// The block's parts written out, in evaluation mode and in training.
TEST_CASE("resnet-18: a block is conv, norm, relu, conv, norm, plus the shortcut, relu") {
  for (const bool training : {false, true}) {
    CAPTURE(training);
    BasicBlock block(2, 3, 2);
    block.initialize(5);
    uint32_t draw = 0;
    std::map<std::string, Tensor> at;
    for (const auto& [name, tensor] : block.state()) {
      if (tensor.rank() == 1) tensor.copy_from(random_uniform(tensor.shape(), {3, 4, draw++}, 0.5, 1.5));
      at[name] = tensor.detach().contiguous();
    }
    const Tensor input = random_normal({2, 2, 6, 6}, {7, 8, 9});
    const auto norm = [&](const Tensor& x, const std::string& name) {
      const Shape channel{1, x.size(1), 1, 1};
      Tensor mean_of = at[name + ".running_mean"].reshape(channel),
             variance = at[name + ".running_var"].reshape(channel);
      if (training) {
        mean_of = mean(x, {0, 2, 3}, true);
        variance = mean(square(x - mean_of), {0, 2, 3}, true);
      }
      return (x - mean_of) * power(add(variance, 1e-5), -0.5) * at[name + ".weight"].reshape(channel) +
             at[name + ".bias"].reshape(channel);
    };
    const auto convolved = [&](const Tensor& x, const std::string& name, int64_t stride, int64_t padding) {
      return conv2d(x, at[name + ".weight"], Tensor(), {.stride = stride, .padding = padding});
    };
    const Tensor inner = relu(norm(convolved(input, "conv1", 2, 1), "bn1"));
    const Tensor shortcut = norm(convolved(input, "downsample.0", 2, 0), "downsample.1");
    const std::vector<float> expected =
        relu(norm(convolved(inner, "conv2", 1, 1), "bn2") + shortcut).contiguous().to_vector<float>();
    block.train(training);
    const std::vector<float> found = block(input).contiguous().to_vector<float>();
    REQUIRE(found.size() == expected.size());
    double positive = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-4));
      positive += expected[i] > 0;
    }
    CHECK(positive > 0);
    CHECK(positive < static_cast<double>(found.size()));
  }
}
