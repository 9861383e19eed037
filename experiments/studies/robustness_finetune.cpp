// The thief trains on, on the owner's kind of data: all layers or the last, gently or hard, after pruning, or
// a fresh network from the stolen one's answers.
#include <nlohmann/json.hpp>

#include "experiments/studies/robustness.h"

namespace dw {
namespace {

Findings run(ExperimentContext& context) {
  const std::string epochs = context.choose<std::string>("1", "2", "20");
  const std::string distil_epochs = context.choose<std::string>("1", "6", "200");
  const auto seeds = context.choose<uint64_t>(1, 3, 3);
  const std::string gentle = "finetune:" + epochs, hard = gentle + ":rate=0.1";
  const std::string prune = "fine-prune:0.9:epochs=" + epochs;
  const RobustnessGrid grid = run_grid(context,
                                       {{"none", ""},
                                        {"FTLL: last layer", gentle + ":mode=ftll"},
                                        {"FTAL: all layers", gentle + ":mode=ftal"},
                                        {"RTLL: new last layer, it alone", gentle + ":mode=rtll"},
                                        {"RTAL: new last layer, all layers", gentle + ":mode=rtal"},
                                        {"FTAL at learning rate 0.1", hard},
                                        {"90 % pruned, then FTAL", prune}},
                                       ours_and_uchida(seeds));
  const RobustnessGrid distilled =
      run_grid(context, {{"distilled into a fresh network", "distil:" + distil_epochs}}, ours_and_uchida(1));

  Findings findings;
  findings.sections.push_back(
      {.title = "Fine-tuning",
       .text = fmt::format("{} epochs of SGD, cosine schedule from learning rate 0.01 unless said otherwise.",
                           epochs),
       .table = grid.table(),
       .caption = "Test accuracy, bit error rate and the weakest p-value over seeds."});
  findings.sections.push_back(
      {.title = "Distillation into a fresh network",
       .text = "No weight of the fresh network descends from the stolen one's, so a mark in weights cannot "
               "be there. "
               "The companion for this case is the trigger set, which is read from predictions.",
       .table = distilled.table()});
  findings.goals.push_back(
      no_errors_goal("bit error rate 0 after fine-tuning, in each of the four modes",
                     {grid.at(gentle + ":mode=ftll", 0), grid.at(gentle + ":mode=ftal", 0),
                      grid.at(gentle + ":mode=rtll", 0), grid.at(gentle + ":mode=rtal", 0)}));
  findings.goals.push_back(
      no_errors_goal("bit error rate 0 after fine-tuning at learning rate 0.1", {grid.at(hard, 0)}));
  findings.goals.push_back(not_worse_goal("bit errors not above Uchida's after any fine-tuning", grid));
  const Outcome& fresh = distilled.outcomes[0][0];
  findings.goals.push_back(
      {"distillation into a fresh network: reported as lost, measured",
       fmt::format("bit error rate {:.1f} %, p = 2^{:.1f}", fresh.mean_error_rate(), fresh.weakest_log2_p),
       !fresh.accuracy.empty()});
  return findings;
}

}  // namespace

Experiment robustness_finetune_experiment() {
  return {"robustness-finetune", "Fine-tuning, fine-pruning and distillation",
          "What is left of the mark when the thief trains on, and what when only the answers are stolen?",
          run};
}

}  // namespace dw
