#include "layers/networks.h"

#include <array>
#include <charconv>

#include "layers/resnet.h"
#include "layers/sequential.h"
#include "layers/wide_resnet.h"

namespace dw {
namespace {

std::unique_ptr<Module> make_wide_resnet(const NetworkSpec& spec) {
  int64_t depth = 0, width = 0;
  const char* const end = spec.name.data() + spec.name.size();
  const auto [after_depth, depth_error] = std::from_chars(spec.name.data() + 4, end, depth);
  const bool separated = depth_error == std::errc() && after_depth != end && *after_depth == '-';
  const auto [after_width, width_error] = separated
                                              ? std::from_chars(after_depth + 1, end, width)
                                              : std::from_chars_result{end, std::errc::invalid_argument};
  constexpr int64_t most = 1000;
  if (width_error != std::errc() || after_width != end || depth < 10 || depth > most ||
      (depth - 4) % 6 != 0 || width < 1 || width > most) {
    throw UsageError(
        fmt::format("network \"{}\" is not a wide residual network: expected wrn-D-K with D = 10, 16, 22, "
                    "28, ... and K of at least 1",
                    spec.name));
  }
  return std::make_unique<WideResNet>(WideResNet::Options{
      .depth = depth, .width = width, .classes = spec.classes, .in_channels = spec.channels});
}

std::unique_ptr<Module> make_resnet18(const NetworkSpec& spec) {
  return std::make_unique<ResNet18>(ResNet18::Options{.classes = spec.classes, .in_channels = spec.channels});
}

// LeNet-5 (LeCun et al. 1998) with maximum pooling and ReLU.
std::unique_ptr<Module> make_lenet5(const NetworkSpec& spec) {
  if (spec.height < 12 || spec.width < 12) {
    throw UsageError(
        fmt::format("lenet-5 reads images of at least 12x12, found {}x{}", spec.height, spec.width));
  }
  auto network = std::make_unique<Sequential>();
  network->add(
      std::make_unique<PooledConv2d>(spec.channels, 6, 5, Conv2d::Options{.padding = 2}, PoolOptions{}),
      "conv1");
  network->add(std::make_unique<PooledConv2d>(6, 16, 5, Conv2d::Options{}, PoolOptions{}), "conv2");
  network->add(std::make_unique<Flatten>(), "flatten");
  const int64_t features = 16 * ((spec.height / 2 - 4) / 2) * ((spec.width / 2 - 4) / 2);
  network->add(std::make_unique<Linear>(features, 120), "fc1");
  network->add(std::make_unique<Relu>(), "relu3");
  network->add(std::make_unique<Linear>(120, 84), "fc2");
  network->add(std::make_unique<Relu>(), "relu4");
  network->add(std::make_unique<Linear>(84, spec.classes), "fc3");
  return network;
}

std::unique_ptr<Module> make_mlp(const NetworkSpec& spec) {
  auto network = std::make_unique<Sequential>();
  network->add(std::make_unique<Flatten>(), "flatten");
  network->add(std::make_unique<Linear>(spec.channels * spec.height * spec.width, 512), "fc1");
  network->add(std::make_unique<Relu>(), "relu1");
  network->add(std::make_unique<Linear>(512, 256), "fc2");
  network->add(std::make_unique<Relu>(), "relu2");
  network->add(std::make_unique<Linear>(256, spec.classes), "fc3");
  return network;
}

struct Entry {
  std::string_view name;    // as shown
  std::string_view prefix;  // what a name must start with; equal to it unless the family has parameters
  bool family;
  std::string_view description;
  std::unique_ptr<Module> (*make)(const NetworkSpec&);
};

// To add a network: its builder above (or a file of its own) and a line here.
constexpr std::array<Entry, 4> networks{{
    {"wrn-D-K", "wrn-", true, "wide residual network of depth D = 10, 16, 22, 28, ... and width K",
     make_wide_resnet},
    {"resnet-18", "resnet-18", false, "residual network of depth 18 with the stem for small images",
     make_resnet18},
    {"lenet-5", "lenet-5", false, "LeNet-5 with ReLU and maximum pooling", make_lenet5},
    {"mlp", "mlp", false, "two hidden layers of 512 and 256", make_mlp},
}};

}  // namespace

std::unique_ptr<Module> make_network(const NetworkSpec& spec) {
  require(spec.classes > 1 && spec.channels > 0 && spec.height > 0 && spec.width > 0,
          "a network expects at least two classes and an image with pixels, found {} classes and {}x{}x{}",
          spec.classes, spec.channels, spec.height, spec.width);
  for (const Entry& entry : networks) {
    if (entry.family ? spec.name.starts_with(entry.prefix) : spec.name == entry.prefix)
      return entry.make(spec);
  }
  std::string known;
  for (const Entry& entry : networks) known += fmt::format("{}{}", known.empty() ? "" : ", ", entry.name);
  throw UsageError(fmt::format("network \"{}\" is not known; there are {}", spec.name, known));
}

std::vector<NetworkHelp> known_networks() {
  std::vector<NetworkHelp> list;
  list.reserve(std::size(networks));
  for (const Entry& entry : networks)
    list.push_back({std::string(entry.name), std::string(entry.description)});
  return list;
}

}  // namespace dw
