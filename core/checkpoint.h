// What a training run must remember to go on exactly where it was. Written as one safetensors file:
// "model.*", "optimizer.*", and the position below in its metadata (docs/formats.md). Private to the trainer
// and its tests.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/trainer.h"

namespace dw {

struct TrainingPosition {
  int64_t step = 0;       ///< optimizer steps done
  double epoch_loss = 0;  ///< sums over this epoch's samples so far
  double epoch_correct = 0;
  double epoch_samples = 0;
  double epoch_seconds = 0;
  double best_accuracy = -1;
  std::vector<EpochMetrics> epochs;
};

void save_checkpoint(const std::filesystem::path& path, const Module& module, const Optimizer& optimizer,
                     const TrainingPosition& position, const std::string& fingerprint);

/// Restores module and optimizer in place. Error when the checkpoint is of another run (its fingerprint
/// differs).
TrainingPosition load_checkpoint(const std::filesystem::path& path, Module& module, Optimizer& optimizer,
                                 const std::string& fingerprint);

/// One line of metrics.jsonl, without the newline.
std::string to_json(const EpochMetrics& metrics);

}  // namespace dw
