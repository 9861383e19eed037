// An attack: what a thief does to a stolen model to lose its mark. One interface for all; chains of them.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/trainer.h"
#include "watermark/model.h"

namespace dw {

/// Data a network is trained and judged on.
struct Task {
  std::string name;
  int64_t classes = 0;
  std::function<std::unique_ptr<BatchSource>(int64_t batch_size, uint64_t seed)> training;  ///< augmented
  std::function<std::unique_ptr<BatchSource>()> test;
};

/// What the thief has.
struct AttackContext {
  const Task* task = nullptr;   ///< data like the owner's; null: attacks that train are UsageErrors
  const Task* other = nullptr;  ///< another data set with pictures of the same size, to transfer to
  Device device;
  uint64_t seed = 0;                                          ///< decides every random choice of the attack
  std::function<void(int64_t step, int64_t steps)> progress;  ///< of training; may be empty
};

/// A model after an attack, and the task it does now.
struct AttackedModel {
  Model model;
  const Task* task = nullptr;
};

class Attack {
 public:
  virtual ~Attack() = default;
  /// As it would be typed, with every option: "prune:fraction=0.9:scope=layer".
  virtual std::string text() const = 0;
  virtual AttackedModel apply(const AttackedModel& victim, const AttackContext& context) const = 0;
};

struct AttackKind {
  std::string name;         ///< "prune"
  std::string description;  ///< one line
  std::string options;      ///< "fraction=0.9:scope=layer|global", defaults shown
};

/// Every kind, for help and tests. To add one: its file in attacks/, its line in attack.cpp.
std::vector<AttackKind> attack_kinds();

/// "NAME[:VALUE][:OPTION=VALUE]...", VALUE being the kind's first option; several, separated by commas, are
/// done one after the other: "prune:0.9,finetune:5". UsageError for unknown kinds, options and bad values.
std::vector<std::unique_ptr<Attack>> parse_attacks(std::string_view text);

/// The seed of the attack at `position` of a chain, counted from 0.
uint64_t attack_seed(uint64_t seed, size_t position);

/// All of them in order; the seed of each is derived from the context's and its position.
AttackedModel apply_attacks(std::span<const std::unique_ptr<Attack>> attacks, const AttackedModel& victim,
                            const AttackContext& context);

/// Accuracy and loss of a model on its task's test data.
Evaluation evaluate_model(const Model& model, const Task& task, Device device);

}  // namespace dw
