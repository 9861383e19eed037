// What the embedding situations are measured by.
#pragma once

#include <array>
#include <vector>

#include "experiments/experiment.h"

namespace dw {

struct EmbeddingMeasurement {
  double accuracy = 0;  ///< in percent
  double moved = 0;     ///< ‖w − w₀‖ / ‖w₀‖ of the convolutions but the stem; 0 without a host
  /// Bit errors and p as it is, then after pruning by each fraction; empty for an unmarked network.
  std::vector<MarkReading> readings;
};

/// What measure_embedding() prunes, in percent of every layer.
inline constexpr std::array pruned_percents{65, 90, 95};

/// The heads of a table's last columns, and what stands there: errors as it is, log₂ p, errors after pruning.
void add_reading_heads(std::vector<std::string>& header);
void add_readings(std::vector<std::string>& row, const EmbeddingMeasurement& measured);

EmbeddingMeasurement measure_embedding(ExperimentContext& context, const NetworkRequest& request);

}  // namespace dw
