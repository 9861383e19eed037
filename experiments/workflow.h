// What the commands, the demo and the experiments share: reading data with a progress bar, training a network
// from a request, reading a model file back.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/trainer.h"
#include "datasets/augment.h"
#include "datasets/registry.h"
#include "experiments/command_line.h"
#include "layers/networks.h"
#include "watermark/claim.h"
#include "watermark/embedder.h"

namespace dw {

/// Reads a data set with a progress bar. Errors as of the overload it calls.
Dataset load_with_progress(const std::string& spec, LoadOptions options = {});

/// A way to train. To add one: its line in workflow.cpp.
struct Recipe {
  std::string name;
  std::string description;
  int64_t epochs = 0, batch = 0;
  double learning_rate = 0, weight_decay = 0;
  std::string schedule;
};
const std::vector<Recipe>& recipes();
/// UsageError naming the recipes for any other name.
const Recipe& recipe_named(const std::string& name);

/// One training run, from scratch.
struct TrainingRequest {
  std::string network = "wrn-10-1";
  Recipe recipe = recipes().front();
  std::optional<Augmentation> augmentation;  ///< not given: the data set's own
  uint64_t seed = 0;
  Device device;
  std::filesystem::path out;  ///< empty: nothing is written
  bool resume = false;
  std::filesystem::path key;  ///< empty: no mark
  EmbedOptions embed;
};

struct TrainedNetwork {
  std::unique_ptr<Module> network;
  TrainingResult result;
  std::optional<Mark> mark;
};

/// Trains as asked, with a progress bar titled `label`, a line an epoch and Ctrl-C caught. With a key, the
/// claim beside it receives the signed mark before the first step. Errors of train(), and UsageError for what
/// cannot be marked.
TrainedNetwork run_training(const Dataset& data, const TrainingRequest& request, const std::string& label);

/// A network with the weights of a model file, on `device`.
struct LoadedModel {
  std::unique_ptr<Module> network;
  NetworkSpec spec;
  ChannelStatistics statistics;  ///< the normalisation it was trained with
};
/// Error when the file does not say which network it holds.
LoadedModel load_model(const std::filesystem::path& path, Device device);

/// Accuracy and loss on the pictures of `set`, which must have the model's size, channels and number of
/// classes.
Evaluation evaluate_model(const LoadedModel& model, const ImageSet& set, Device device);

/// "94.1 %".
std::string percent(double fraction);

}  // namespace dw
