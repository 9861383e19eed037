// Pruning: weights become zero, the smallest first unless asked otherwise. One rule for model files and for
// models in memory.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "watermark/model.h"

namespace dw {

enum class PruningScope {
  layer,   ///< the fraction of every weight tensor on its own
  global,  ///< the fraction of all weights together
};

/// "layer" or "global"; UsageError otherwise.
PruningScope parse_pruning_scope(std::string_view text);

enum class PruningOrder { smallest, largest, random };

struct PruningReport {
  struct Layer {
    std::string name;
    int64_t weights = 0;
    int64_t zeros = 0;  ///< after pruning
  };
  std::vector<Layer> layers;
  int64_t weights = 0;
  int64_t zeros = 0;
};

/// Zeroes round(fraction · n) weights of smallest magnitude in the floating tensors of rank 2 or more
/// (convolutions and fully connected layers); of equals, the first. Everything else, dtypes and metadata
/// stay; the metadata entry "pruned" says what was done. Writes `out` atomically. UsageError: fraction
/// outside [0, 1), nothing to prune, `out` is `in`.
PruningReport prune_model(const std::filesystem::path& in, const std::filesystem::path& out, double fraction,
                          PruningScope scope);

/// The same on a model in memory, in any order; `seed` decides a random one. The weights are those of rank 2
/// or more, as they come in the model.
PruningReport prune_model(Model& model, double fraction, PruningScope scope,
                          PruningOrder order = PruningOrder::smallest, uint64_t seed = 0);

/// Zeroes round(fraction · filters) whole filters of every convolution but the first, those with the smallest
/// sum of magnitudes (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).
PruningReport prune_filters(Model& model, double fraction);

}  // namespace dw
