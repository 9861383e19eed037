// A chain of modules.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/module.h"

namespace dw {

/// Runs its children in the order they were added, each under the name given ("0", "1", ... by default).
class Sequential : public Module {
 public:
  template <typename Layer>
  Layer& add(std::unique_ptr<Layer> layer, std::string name = "") {
    Layer& added = *layer;
    register_module(name.empty() ? std::to_string(layers_.size()) : std::move(name), added);
    layers_.push_back(std::move(layer));
    return added;
  }

  Tensor forward(const Tensor& input) override {
    Tensor value = input;
    for (const auto& layer : layers_) value = layer->forward(value);
    return value;
  }

 private:
  std::vector<std::unique_ptr<Module>> layers_;
};

}  // namespace dw
