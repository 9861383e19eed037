// Many small networks, trained briefly with and without marks: what a property-inference attacker learns
// from.
#pragma once

#include <string>
#include <vector>

#include "experiments/experiment.h"
#include "watermark/detectability.h"

namespace dw {

/// Networks that differ in nothing but their seed and key.
struct Population {
  std::string name;         ///< as tables show it
  std::string network;      ///< "wrn-10-1"
  std::string scheme = {};  ///< empty: unmarked
  SchemeOptions options = {};
  int bits = 64;
};

/// How each of them is trained, on one thread; as many at once as there are threads.
struct PopulationPlan {
  int64_t networks = 40;
  int64_t steps = 100;  ///< of SGD at learning rate 0.1, one-cycle
  int64_t batch = 64;
  bool halved = true;  ///< pictures at half their width and height: a quarter of the time
  uint64_t first_seed = 1;
};

struct PopulationResult {
  std::vector<std::string> names;  ///< of the features
  std::vector<std::vector<double>> features;
  double training_accuracy = 0;  ///< mean, over all steps
  double bit_error_rate = 0;     ///< mean; 0 where unmarked
  double amplitude = 0;          ///< a of scheme "deepwater", else 0
  double weights_per_bit = 0;    ///< of the marked layers
};

/// One cell. Seeds and keys are first_seed, first_seed + 1, ... Errors of embedding and training;
/// Interrupted.
PopulationResult train_population(ExperimentContext& context, const Population& population,
                                  const PopulationPlan& plan);

}  // namespace dw
