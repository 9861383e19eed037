// What attacks that train have in common: how long and how fast, and a network trained on a task from a
// model.
#pragma once

#include "core/module.h"
#include "watermark/attacks/kinds.h"

namespace dw {

struct AttackTraining {
  int64_t epochs = 0;
  double rate = 0;  ///< peak learning rate
  std::string schedule = "cosine";
  double weight_decay = 5e-4;
  bool head_only = false;  ///< everything before the last layer stays, batch norm's statistics included
  std::function<Tensor(const Batch& batch, const Tensor& logits)> loss = {};
};

/// Options "epochs" and "rate" with these defaults, for an attack's list.
std::vector<AttackOption> training_options(const std::string& epochs, const std::string& rate);
AttackTraining training_from(const AttackArguments& arguments);

/// The context's task. UsageError without one.
const Task& task_for(const AttackedModel& victim, const AttackContext& context);

/// Trains `network` (on the context's device) by SGD with Nesterov momentum 0.9, batches of 128.
/// `term` may be null; `batches` null: the task's.
void train_for_attack(Module& network, const Task& task, const AttackContext& context,
                      const AttackTraining& training, GradientTerm* term = nullptr,
                      BatchSource* batches = nullptr);
std::unique_ptr<BatchSource> training_batches(const Task& task, const AttackContext& context);

/// Names of the last layer's weight and bias.
std::vector<std::string> head_of(const Module& network);

}  // namespace dw
