// The training loop: batches in, updated parameters, metrics and checkpoints out.
//
// A run writes beside its model file DIR/NAME.safetensors:
//   DIR/NAME.safetensors             the last epoch's model
//   DIR/NAME.best.safetensors        the model of the epoch with the highest test accuracy
//   DIR/NAME.checkpoint.safetensors  model, optimizer and position: what --resume continues from
//   DIR/metrics.jsonl                one JSON object an epoch
// Every file is replaced atomically; after kill -9 a resumed run on the CPU ends with the same bits.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/schedule.h"
#include "core/training_step.h"

namespace dw {

struct EpochMetrics {
  int64_t epoch = 0;  ///< from 1
  double learning_rate = 0;
  double train_loss = 0, train_accuracy = 0;  ///< accuracy in [0, 1], on augmented batches as they came
  double test_loss = 0, test_accuracy = 0;
  double mark_loss = 0;  ///< of the gradient term; 0 without one
  double seconds = 0;
};

struct Evaluation {
  double loss = 0;
  double accuracy = 0;  ///< in [0, 1]
  int64_t samples = 0;
};

/// Mean loss and accuracy over one epoch of `source`, in evaluation mode; the module's mode is restored.
Evaluation evaluate(Module& module, BatchSource& source,
                    const std::function<void(int64_t done, int64_t total)>& progress = {});

struct TrainingPlan {
  int64_t epochs = 8;
  double learning_rate = 0.1;
  Schedule schedule = one_cycle_schedule();
  LossFunction loss = {};  ///< empty: cross-entropy with the labels
  uint64_t seed = 1;
  /// Capture the step and replay it (core/training_step.h); not given: on CUDA.
  std::optional<bool> graph = {};
  DType activations = DType::f32;               ///< or bf16 (core/mixed_precision.h)
  std::filesystem::path model_path;             ///< empty: nothing is written
  std::map<std::string, std::string> metadata;  ///< of the model files
  /// Everything that decides the run's bits, in words: a resume with another one is an Error.
  std::string fingerprint;
  bool resume = false;  ///< continue from the checkpoint where there is one
};

struct TrainingObserver {
  /// Before the first step of this call, once a checkpoint that is resumed from has been found to fit.
  std::function<void()> on_start = {};
  /// After every step; `loss` and `accuracy` are this epoch's means so far.
  std::function<void(int64_t step, int64_t steps, double loss, double accuracy)> on_step;
  std::function<void(const EpochMetrics&)> on_epoch;
  /// Asked after every step; true stops with a checkpoint.
  std::function<bool()> stop_requested;
};

struct TrainingResult {
  bool finished = false;  ///< false: stopped on request, resumable
  std::vector<EpochMetrics> epochs;
};

std::filesystem::path best_model_path(const std::filesystem::path& model_path);
std::filesystem::path checkpoint_path(const std::filesystem::path& model_path);
std::filesystem::path metrics_path(const std::filesystem::path& model_path);

/// Trains `module`. `test` and `term` may be null. Errors: a loss that is not finite (nothing is written
/// after it; the last checkpoint stays), a checkpoint of another run, files that cannot be written.
TrainingResult train(Module& module, Optimizer& optimizer, BatchSource& batches, BatchSource* test,
                     GradientTerm* term, const TrainingPlan& plan, const TrainingObserver& observer);

}  // namespace dw
