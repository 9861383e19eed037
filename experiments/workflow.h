// What the commands, the demo and the experiments share: reading data with a progress bar, training a network
// from a request, reading a model file back.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/distillation.h"
#include "core/trainer.h"
#include "datasets/augment.h"
#include "datasets/registry.h"
#include "experiments/command_line.h"
#include "layers/networks.h"
#include "watermark/attack.h"
#include "watermark/claim.h"
#include "watermark/scheme.h"
#include "watermark/trigger_set.h"

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

/// One training run: from scratch, from a finished model, or from a teacher.
struct TrainingRequest {
  std::string network = "wrn-10-1";
  Recipe recipe = recipes().front();
  std::optional<Augmentation> augmentation;  ///< not given: the data set's own
  uint64_t seed = 0;
  Device device;
  std::filesystem::path out;  ///< empty: nothing is written
  bool resume = false;
  std::optional<bool> graph;  ///< capture the training step (TrainingPlan::graph)
  std::filesystem::path key;  ///< empty: no mark
  std::string scheme = "deepwater";
  SchemeOptions scheme_options;
  std::filesystem::path start;    ///< model to start from, normalised as it was trained; empty: from scratch
  std::filesystem::path teacher;  ///< model to distil from; empty: learn from labels alone
  DistillationOptions distillation;
  bool epoch_lines = true;  ///< a line on stderr for each epoch
};

struct TrainedNetwork {
  std::unique_ptr<Module> network;
  TrainingResult result;
  std::optional<Mark> mark;
};

/// Makes the folder of a file to be written, or finds out that it cannot be. Error: `path` is a folder, or
/// cannot be written.
void require_writable(const std::filesystem::path& path);

/// Trains as asked, with a progress bar titled `label`, a line an epoch and Ctrl-C caught. With a key, the
/// claim beside it receives the signed mark before the first step. Errors of train(); of a start or teacher
/// that does not fit the network or the data; UsageError for what cannot be marked.
TrainedNetwork run_training(const Dataset& data, const TrainingRequest& request, const std::string& label);

/// Says on stderr how an interrupted training goes on; returns the program's exit code for it.
int report_stopped(const TrainingResult& result, const TrainingRequest& request);

/// A network with the weights of a model file, on `device`.
struct LoadedModel {
  std::unique_ptr<Module> network;
  NetworkSpec spec;
  ChannelStatistics statistics;  ///< the normalisation it was trained with
};
/// Error when the file does not say which network it holds.
LoadedModel load_model(const std::filesystem::path& path, Device device);
/// The same for a file that may come from elsewhere: what its metadata does not say is taken from `assumed`.
/// Its tensors must have the names and shapes of ours.
LoadedModel load_model(const std::filesystem::path& path, Device device, const NetworkSpec& assumed,
                       const ChannelStatistics& statistics);

/// The network that reads the pictures of `set` and tells its classes apart.
NetworkSpec spec_for(const std::string& network, const ImageSet& set);

/// What the model file of a network trained on `data` says of itself.
std::map<std::string, std::string> model_metadata(const Dataset& data, const NetworkSpec& spec,
                                                  const ChannelStatistics& statistics, uint64_t seed);

/// The normalisation a model of this program says it was trained with. Error where it does not.
ChannelStatistics statistics_of(const Model& model);

/// The class a model gives to each picture of `set`, whose size and channels it must have.
std::vector<int64_t> predictions_of(const Model& model, const ImageSet& set, Device device);

/// The pictures of a trigger set with their labels.
ImageSet image_set_of(TriggerSet triggers);

/// `data`, which must outlive the task and its batches, as attacks take it.
Task task_of(const Dataset& data, Device device);

/// Accuracy and loss on the pictures of `set`, which must have the model's size, channels and number of
/// classes.
Evaluation evaluate_model(const LoadedModel& model, const ImageSet& set, Device device);

/// "94.1 %".
std::string percent(double fraction);

}  // namespace dw
