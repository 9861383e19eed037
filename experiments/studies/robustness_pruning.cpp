// Weights set to zero: by magnitude, at random, the largest first, whole filters; measured and predicted.
#include <nlohmann/json.hpp>

#include "experiments/studies/robustness.h"
#include "watermark/prediction.h"

namespace dw {
namespace {

const std::vector<double>& fractions() {
  static const std::vector<double> list{0, 0.2, 0.4, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995};
  return list;
}

std::string attack_of(double fraction, const std::string& scope = "layer") {
  return fraction == 0 ? "" : fmt::format("prune:{}:scope={}", fraction, scope);
}

std::string known_of(double fraction) {
  if (fraction <= 0.65) return "0 %";
  if (fraction == 0.8) return "1.6 %";
  if (fraction == 0.9) return "3.9 %";
  if (fraction == 0.95) return "10.6 %";
  if (fraction == 0.99) return "26 %";
  return "";
}

// Of independent draws from the marked density, for the mark that `request`'s network carries.
double predicted_percent(ExperimentContext& context, const NetworkRequest& request, double fraction) {
  const Claim claim = load_claim(context.network(request).claim);
  const Mark& mark = claim.marks.at(0).mark;
  double weights = 0;
  for (const MarkedLayer& layer : mark.layers) weights += static_cast<double>(weight_count(layer));
  return 100 * predicted_bit_error_rate(mark.amplitude, mark.tau, weights / mark.bits, fraction);
}

// The network that the goals speak of, where the preset's is a smaller one; and there a wider tilt, which
// leaves more of the mark to the largest weights.
std::vector<Contender> contenders(const ExperimentContext& context, uint64_t seeds) {
  std::vector<Contender> list = ours_and_uchida(seeds);
  NetworkRequest wide{.scheme = "deepwater", .network = context.choose("", "wrn-10-4", "")};
  if (!wide.network.empty()) list.push_back({"deepwater, WRN-10-4", wide, 1});
  wide.options.values["tau"] = context.choose("0.8", "2", "2");
  list.push_back({wide.network.empty() ? "deepwater, wider tilt" : "deepwater, WRN-10-4, τ 2", wide, 1});
  return list;
}

void add_curves(Findings& findings, const RobustnessGrid& grid, const std::vector<double>& predicted) {
  Chart errors{
      .figure = {.title = "Bit errors after magnitude pruning",
                 .description = "Bit error rate against the share of weights removed, for every scheme."},
      .x = {.label = "weights removed (%)"},
      .y = {.label = "bit errors (%)", .lowest = 0},
      .series = {}};
  Chart accuracy{.figure = {.title = "Accuracy after magnitude pruning",
                            .description = "Test accuracy against the share of weights removed."},
                 .x = {.label = "weights removed (%)"},
                 .y = {.label = "accuracy (%)", .lowest = 0},
                 .series = {}};
  std::vector<double> x;
  for (const double fraction : fractions()) x.push_back(100 * fraction);
  for (size_t c = 0; c < grid.contenders.size(); ++c) {
    Series wrong{.name = grid.contenders[c].name, .x = x, .y = {}, .markers = true}, right = wrong;
    for (const auto& row : grid.outcomes) {
      wrong.y.push_back(row[c].mean_error_rate());
      right.y.push_back(row[c].mean_accuracy());
    }
    errors.series.push_back(wrong);
    accuracy.series.push_back(right);
  }
  errors.series.push_back({.name = "deepwater, predicted", .x = x, .y = predicted, .dashed = true});
  findings.sections.push_back({.title = "Curves", .text = "", .svg = plot(errors), .caption = uchida_source});
  findings.sections.push_back({.title = "", .text = "", .svg = plot(accuracy)});
}

Findings run(ExperimentContext& context) {
  const auto seeds = context.choose<uint64_t>(1, 3, 3);
  std::vector<AttackRow> rows;
  for (const double fraction : fractions())
    rows.push_back({fmt::format("{:g} %", 100 * fraction), attack_of(fraction), known_of(fraction)});
  const RobustnessGrid grid = run_grid(context, rows, contenders(context, seeds));
  const RobustnessGrid others = run_grid(context,
                                         {{"65 % of all weights together", attack_of(0.65, "global")},
                                          {"90 % of all weights together", attack_of(0.9, "global")},
                                          {"95 % of all weights together", attack_of(0.95, "global")},
                                          {"50 % at random", "prune-random:0.5"},
                                          {"90 % at random", "prune-random:0.9"},
                                          {"10 % largest first", "prune-largest:0.1"},
                                          {"50 % largest first", "prune-largest:0.5"},
                                          {"25 % of the filters", "prune-filters:0.25"},
                                          {"50 % of the filters", "prune-filters:0.5"}},
                                         ours_and_uchida(seeds));
  std::vector<double> predicted;
  Table comparison({"removed", "predicted bit errors %", "measured, mean of seeds %"});
  for (size_t i = 0; i < fractions().size(); ++i) {
    predicted.push_back(predicted_percent(context, grid.contenders[0].request, fractions()[i]));
    comparison.add_row({rows[i].label, fmt::format("{:.3f}", predicted.back()),
                        fmt::format("{:.3f}", grid.outcomes[i][0].mean_error_rate())});
  }

  const Outcome& at_99 = grid.at(attack_of(0.99), 0);
  Findings findings;
  findings.sections.push_back(
      {.title = "Magnitude pruning, the same share of every layer",
       .text = fmt::format(
           "deepwater at strength z* {:g}. The goals were set for WRN-10-4, where a bit has 4,650 weights; "
           "in WRN-10-1 it has 300, of which 3 are left at 99 % on average: {} of the {} bits that the small "
           "network loses there, in {} seeds, have no weight left at all, and nothing could read them. Wider "
           "networks: one seed.",
           context.settings().strength, at_99.erased, at_99.errors, at_99.runs),
       .table = grid.table(),
       .caption = uchida_source});
  add_curves(findings, grid, predicted);
  findings.sections.push_back(
      {.title = "Predicted and measured",
       .text =
           "From the marked density alone, as if a bit's weights were independent draws (docs/method.md). A "
           "trained mark does better: its loss pulls every single bit up to the target.",
       .table = comparison});
  findings.sections.push_back({.title = "Other ways to prune", .text = "", .table = others.table()});

  for (size_t c = 0; c < grid.contenders.size(); ++c) {
    if (grid.contenders[c].name == "uchida") continue;
    std::vector<Outcome> to_99;
    for (size_t i = 0; i < fractions().size(); ++i)
      if (fractions()[i] <= 0.99) to_99.push_back(grid.outcomes[i][c]);
    findings.goals.push_back(no_errors_goal(
        fmt::format("bit error rate 0 at every share to 99 %: {}", grid.contenders[c].name), to_99));
    findings.goals.push_back(proof_goal(fmt::format("p ≤ 2⁻¹²⁸ at 99.5 %: {}", grid.contenders[c].name),
                                        {grid.at(attack_of(0.995), c)}, -128));
  }
  findings.goals.push_back(
      no_errors_goal("bit error rate 0 after the removal of 65 %, as Zhang et al. 2021 claim of theirs",
                     {grid.at(attack_of(0.65), 0), others.at(attack_of(0.65, "global"), 0)}));
  RobustnessGrid heavy{{}, grid.contenders, {}};
  for (size_t i = 0; i < fractions().size(); ++i) {
    if (fractions()[i] < 0.8) continue;
    heavy.rows.push_back(grid.rows[i]);
    heavy.outcomes.push_back(grid.outcomes[i]);
  }
  findings.goals.push_back(not_worse_goal("bit errors strictly below Uchida's from 80 % on", heavy, true));
  findings.goals.push_back(not_worse_goal("bit errors not above Uchida's at any share", grid));
  findings.goals.push_back(
      not_worse_goal("bit errors not above Uchida's for the other ways to prune", others));
  return findings;
}

}  // namespace

Experiment robustness_pruning_experiment() {
  return {"robustness-pruning", "Pruning", "How many weights may be removed before bits are lost?", run};
}

}  // namespace dw
