// The networks by name: what a model file's metadata says and what --net takes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/module.h"

namespace dw {

struct NetworkSpec {
  std::string name;  ///< "wrn-28-10", "resnet-18", "lenet-5", "mlp"
  int64_t classes = 10;
  int64_t channels = 3, height = 32, width = 32;  ///< of the images it reads
};

/// Starting values are zeros and ones until initialize() or load_module(). UsageError naming the known
/// networks for any other name.
std::unique_ptr<Module> make_network(const NetworkSpec& spec);

struct NetworkHelp {
  std::string name;
  std::string description;
};
std::vector<NetworkHelp> known_networks();

}  // namespace dw
