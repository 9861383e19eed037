// The thief gives the network another task: a new last layer, all layers trained on other pictures. Then
// pruned.
#include <nlohmann/json.hpp>

#include "experiments/command_line.h"
#include "experiments/studies/robustness.h"

namespace dw {
namespace {

const std::vector<double>& fractions_after() {
  static const std::vector<double> list{0, 0.65, 0.9};
  return list;
}

// One transfer, read as it is and after each pruning: {"readings": [...]}.
Json transfer_and_prune(ExperimentContext& context, NetworkRequest request, const std::string& transfer,
                        uint64_t seed) {
  request.seed = seed;
  return context.cell(fmt::format("{} after {}, then pruned", describe(request), transfer), [&]() -> Json {
    const TrainedFile file = context.network(request);
    AttackContext thief;
    thief.task = &context.task();
    thief.other = &context.other();
    thief.device = context.device();
    thief.seed = seed + 1000 * (context.seed() - 1);
    thief.progress = [](int64_t, int64_t) {
      if (stop_requested()) throw Interrupted();
    };
    const AttackedModel moved =
        apply_attacks(parse_attacks(transfer), {read_model(file.model), thief.task}, thief);
    Json readings = Json::array();
    for (const double fraction : fractions_after()) {
      const AttackedModel pruned =
          fraction == 0 ? moved
                        : apply_attacks(parse_attacks(fmt::format("prune:{}", fraction)), moved, thief);
      Json reading = json_of(read_mark(pruned.model, file));
      reading["accuracy"] = evaluate_model(pruned.model, *pruned.task, thief.device).accuracy;
      readings.push_back(reading);
    }
    return {{"readings", readings}};
  });
}

Findings run(ExperimentContext& context) {
  const std::string epochs = context.choose<std::string>("1", "6", "20");
  const auto seeds = context.choose<uint64_t>(1, 3, 3);
  RobustnessGrid grid{{}, ours_and_uchida(seeds), {}};
  for (const char* const rate : {"0.01", "0.1"}) {
    const std::string transfer = fmt::format("transfer:{}:rate={}", epochs, rate);
    std::vector<std::vector<Outcome>> outcomes(fractions_after().size());
    for (const Contender& contender : grid.contenders) {
      for (std::vector<Outcome>& row : outcomes) row.emplace_back();
      for (uint64_t seed = 1; seed <= seeds; ++seed) {
        const Json result = transfer_and_prune(context, contender.request, transfer, seed);
        for (size_t i = 0; i < outcomes.size(); ++i) outcomes[i].back().add(result["readings"][i]);
      }
    }
    for (size_t i = 0; i < outcomes.size(); ++i) {
      const double fraction = fractions_after()[i];
      grid.rows.push_back({fraction == 0
                               ? fmt::format("learning rate {}", rate)
                               : fmt::format("learning rate {}, then {:.0f} % pruned", rate, 100 * fraction),
                           fmt::format("{} {}", rate, fraction)});
      grid.outcomes.push_back(outcomes[i]);
    }
  }

  Findings findings;
  findings.sections.push_back(
      {.title = "Transfer to " + context.other().name,
       .text = fmt::format(
           "A new last layer for {} classes, then {} epochs on all layers, cosine schedule. Zhang et "
           "al. 2021 say of theirs that the mark outlives transfer learning (abstract).",
           context.other().classes, epochs),
       .table = grid.table(),
       .caption = "Accuracy on the other data's test pictures."});
  findings.goals.push_back(
      no_errors_goal("bit error rate 0 after transfer", {grid.at("0.01 0", 0), grid.at("0.1 0", 0)}));
  findings.goals.push_back(
      no_errors_goal("bit error rate 0 after transfer and the removal of 65 % of the weights",
                     {grid.at("0.01 0.65", 0), grid.at("0.1 0.65", 0)}));
  findings.goals.push_back(not_worse_goal("bit errors not above Uchida's after any transfer", grid));
  return findings;
}

}  // namespace

Experiment robustness_transfer_experiment() {
  return {"robustness-transfer", "Transfer to another data set",
          "Does the mark outlive a new task, and pruning after it?", run};
}

}  // namespace dw
