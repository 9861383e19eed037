// What an attack's file gives to the registry: its options with their defaults, and what it does.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/philox.h"
#include "watermark/attack.h"

namespace dw {

struct AttackOption {
  std::string name;
  std::string value;         ///< the default
  std::string choices = {};  ///< "layer|global"; empty: a number
};

/// The options of one attack, each with a value.
class AttackArguments {
 public:
  explicit AttackArguments(std::string attack, std::vector<AttackOption> options)
      : attack_(std::move(attack)), options_(std::move(options)) {}

  /// UsageError: no such option, a value that is no number or none of the choices.
  void set(std::string_view option, std::string_view value);
  void set_first(std::string_view value);

  const std::string& text(std::string_view option) const;
  /// UsageErrors outside [low, high].
  double number(std::string_view option, double low, double high) const;
  int64_t integer(std::string_view option, int64_t low, int64_t high) const;

  /// "prune:fraction=0.9:scope=layer".
  std::string canonical() const;

 private:
  std::string attack_;
  std::vector<AttackOption> options_;
};

using AttackAction = std::function<AttackedModel(const AttackedModel& victim, const AttackContext& context)>;

struct AttackDefinition {
  std::string name;
  std::string description;
  std::vector<AttackOption> options;  ///< the first may be given without its name
  /// Reads and checks the arguments. UsageError.
  AttackAction (*make)(const AttackArguments& arguments);
};

std::span<const AttackDefinition> pruning_attacks();
std::span<const AttackDefinition> weight_attacks();
std::span<const AttackDefinition> transform_attacks();
std::span<const AttackDefinition> training_attacks();

/// Draw number `index` of an attack with this seed.
inline PhiloxKey attack_draw(const AttackContext& context, uint32_t index) {
  constexpr uint32_t attack_stream = 16;
  return {context.seed, attack_stream, index};
}

/// An attack on the weights alone, which leaves the task what it was.
template <typename Change>
AttackAction weights_only(Change change) {
  return [change](const AttackedModel& victim, const AttackContext& context) {
    AttackedModel result = victim;
    change(result.model, context);
    return result;
  };
}

/// Weights of convolutions and fully connected layers: what pruning, quantising and noise work on.
inline bool is_weight(const ModelTensor& tensor) {
  return tensor.shape.size() >= 2 && !tensor.values.empty();
}

}  // namespace dw
