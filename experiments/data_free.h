// Embedding into a finished network without any picture: minimises ½‖w − w₀‖² + λ L over the marked weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/workflow.h"

namespace dw {

struct DataFreeRequest {
  std::filesystem::path model;  ///< stays as it is
  std::filesystem::path out, key;
  std::string scheme = "deepwater";
  SchemeOptions options;
  Device device;
  NetworkSpec assumed{"", 0, 0, 0, 0};  ///< what the model's metadata does not say
  ChannelStatistics statistics;         ///< likewise
  int64_t steps = 1000;
  double rate = 0.1;
  /// Weight of ½‖w − w₀‖² beside the scheme's own λ: the weight decay λ is made for, now towards w₀.
  double pull = 5e-4;
};

struct DataFreeResult {
  struct Layer {
    std::string name;
    double moved = 0;  ///< ‖w − w₀‖ / ‖w₀‖
  };
  Mark mark;
  double first_loss = 0, last_loss = 0;  ///< L before the first and the last step
  double moved = 0;                      ///< of all marked weights together
  std::vector<Layer> layers;
};

/// Writes `out` and adds the signed mark to the claim beside `key`. Batch norm and every other weight stay as
/// they are. Errors: as of load_model and of the scheme; UsageError for a scheme that works through training
/// data; weights that do not stay finite (nothing is written then).
DataFreeResult embed_without_data(const DataFreeRequest& request);

}  // namespace dw
