// Weights set to zero.
#include <array>

#include "watermark/attacks/kinds.h"
#include "watermark/pruning.h"

namespace dw {
namespace {

constexpr double most = 0.99999;

template <PruningOrder order>
AttackAction make_prune(const AttackArguments& arguments) {
  const double fraction = arguments.number("fraction", 0, most);
  const PruningScope scope = parse_pruning_scope(arguments.text("scope"));
  return weights_only([=](Model& model, const AttackContext& context) {
    prune_model(model, fraction, scope, order, context.seed);
  });
}

AttackAction make_prune_filters(const AttackArguments& arguments) {
  const double fraction = arguments.number("fraction", 0, most);
  return weights_only([=](Model& model, const AttackContext&) { prune_filters(model, fraction); });
}

const AttackOption fraction{"fraction", "0.9"};
const AttackOption scope{"scope", "layer", "layer|global"};

}  // namespace

std::span<const AttackDefinition> pruning_attacks() {
  static const std::array<AttackDefinition, 4> list{{
      {"prune",
       "the weights of smallest magnitude become zero",
       {fraction, scope},
       make_prune<PruningOrder::smallest>},
      {"prune-random",
       "weights drawn at random become zero",
       {fraction, scope},
       make_prune<PruningOrder::random>},
      {"prune-largest",
       "the weights of largest magnitude become zero",
       {fraction, scope},
       make_prune<PruningOrder::largest>},
      {"prune-filters",
       "whole filters of smallest magnitude become zero (Li et al. 2017)",
       {fraction},
       make_prune_filters},
  }};
  return list;
}

}  // namespace dw
