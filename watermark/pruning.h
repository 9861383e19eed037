// Magnitude pruning of a model file: the smallest weights become zero.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dw {

enum class PruningScope {
  layer,   ///< the fraction of every weight tensor on its own
  global,  ///< the fraction of all weights together
};

/// "layer" or "global"; UsageError otherwise.
PruningScope parse_pruning_scope(std::string_view text);

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

}  // namespace dw
