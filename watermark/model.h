// A network's weights as plain values: what attacks change and what schemes read. No device, no tape.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/module.h"
#include "layers/networks.h"

namespace dw {

/// Row-major (OIHW for convolutions), whatever dtype the file had.
struct ModelTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

struct Model {
  std::map<std::string, std::string> metadata;
  std::vector<ModelTensor> tensors;

  /// Null where there is no such tensor.
  const ModelTensor* find(std::string_view name) const;
  ModelTensor* find(std::string_view name);
  /// Error naming what is there.
  const ModelTensor& at(std::string_view name) const;
  ModelTensor& at(std::string_view name);
};

/// Error: a file with a tensor that is not floating-point (a network's own files have none).
Model read_model(const std::filesystem::path& path);

/// As F32, atomically.
void write_model(const Model& model, const std::filesystem::path& path);

/// The parameters and buffers of `network`, from any device.
Model model_of(const Module& network, std::map<std::string, std::string> metadata);

/// Error naming every tensor that is missing, unexpected or of another shape; nothing is changed then.
void load_into(Module& network, const Model& model);

/// What the metadata says: network name, classes, image size. Error where it does not.
NetworkSpec spec_of(const Model& model);

/// The network it says it is, with its weights, on the CPU. A model whose metadata has "shapes": "own" may
/// have more channels than networks of its name. Errors of spec_of() and load_into().
std::unique_ptr<Module> network_of(const Model& model);

}  // namespace dw
