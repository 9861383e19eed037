// The mark put into a finished network: in a few epochs of fine-tuning, and without any picture.
#include <array>

#include "experiments/embedding_measurement.h"
#include "experiments/studies/summary.h"

namespace dw {
namespace {

// Nothing trains the rest of the network to make up for weights that move without data, so less is asked of
// them: the marked weights must move by about z*/√m of their norm (m: weights a bit), an eighth of it on
// WRN-10-1 at 2.
constexpr std::array data_free_strengths{2, 4, 7};
constexpr int judged_strength = 2;

Findings run(ExperimentContext& context) {
  const auto seeds = context.choose<uint64_t>(1, 6, 3);
  std::vector<std::string> header{"seed", "network", "accuracy %", "change", "weights moved %"};
  add_reading_heads(header);
  Table table(header);
  WorstReading tuned_worst, free_worst, tuned_pruned, free_pruned;
  std::vector<double> tuned_loss, free_loss;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const NetworkRequest host{.seed = seed};
    const auto request = [&](const std::string& scheme, Situation situation) {
      NetworkRequest result{.scheme = scheme, .seed = seed};
      result.situation = situation;
      result.host = {host};
      return result;
    };
    const auto add = [&](const std::string& name, const EmbeddingMeasurement& measured, double before) {
      std::vector<std::string> row{std::to_string(seed), name, fmt::format("{:.2f}", measured.accuracy),
                                   fmt::format("{:+.2f}", measured.accuracy - before),
                                   fmt::format("{:.1f}", 100 * measured.moved)};
      add_readings(row, measured);
      table.add_row(row);
    };
    const EmbeddingMeasurement bare = measure_embedding(context, host);
    const EmbeddingMeasurement control = measure_embedding(context, request("", Situation::fine_tune));
    const EmbeddingMeasurement tuned = measure_embedding(context, request("deepwater", Situation::fine_tune));
    add("finished, unmarked", bare, bare.accuracy);
    add("fine-tuned, unmarked", control, bare.accuracy);
    add("fine-tuned, marked", tuned, bare.accuracy);
    EmbeddingMeasurement unseen;
    for (const int strength : data_free_strengths) {
      NetworkRequest unaided = request("deepwater", Situation::data_free);
      unaided.options.values["strength"] = std::to_string(strength);
      const EmbeddingMeasurement measured = measure_embedding(context, unaided);
      add(fmt::format("marked without data, strength {}", strength), measured, bare.accuracy);
      if (strength == judged_strength) unseen = measured;
    }
    tuned_loss.push_back(tuned.accuracy - control.accuracy);
    free_loss.push_back(unseen.accuracy - bare.accuracy);
    const auto judge = [](WorstReading& worst, const MarkReading& reading) {
      worst.add(reading.bits, reading.errors, reading.log2_p);
    };
    judge(tuned_worst, tuned.readings[0]);
    judge(free_worst, unseen.readings[0]);
    judge(tuned_pruned, tuned.readings[1]);
    judge(free_pruned, unseen.readings[1]);
  }

  Findings findings;
  const Recipe& recipe = context.settings().fine_tuning;
  findings.sections.push_back(
      {.title = "Marking a finished network",
       .text = fmt::format(
           "Fine-tuning, at strength {}: {} epochs at learning rate {}. Marked against unmarked fine-tuning: "
           "{} "
           "points. Without data, where ½‖w − w₀‖² + λ L is minimised over the marked weights alone, "
           "accuracy changes "
           "by {} points at strength {}; how far weights must move is z*/√m of their norm, so that what is "
           "affordable grows with the network.",
           context.settings().fine_tuning_strength, recipe.epochs, recipe.learning_rate,
           spread(tuned_loss, true), spread(free_loss, true), judged_strength),
       .table = table,
       .caption =
           "Change is against the finished network; weights moved is ‖w − w₀‖ / ‖w₀‖ of the convolutions."});
  findings.goals.push_back(tuned_worst.no_error_goal("every bit reads back from a fine-tuned network"));
  findings.goals.push_back(no_loss_goal(
      "fine-tuning with the mark is as accurate as without, within two standard errors", tuned_loss));
  findings.goals.push_back(free_worst.no_error_goal(
      fmt::format("every bit reads back from a network marked without data, strength {}", judged_strength)));
  constexpr double most_lost = 1;
  const Moments lost = moments_of(free_loss);
  findings.goals.push_back(
      {fmt::format("marking without data at strength {} costs at most one point of accuracy",
                   judged_strength),
       fmt::format("{} points in {} seeds", spread(free_loss, true), seeds), lost.mean >= -most_lost});
  findings.goals.push_back(
      tuned_pruned.proven_goal("proven at p ≤ 2⁻⁶⁴ after 65 % of the weights are removed, fine-tuned"));
  findings.goals.push_back(free_pruned.proven_goal(
      "proven at p ≤ 2⁻⁶⁴ after 65 % of the weights are removed, marked without data"));
  return findings;
}

}  // namespace

Experiment fine_tune_to_embed_experiment() {
  return {"fine-tune-to-embed", "Embedding into a finished network",
          "Can a network that was trained without a mark be given one in a few epochs, or without any data, "
          "and what "
          "does it cost?",
          run};
}

}  // namespace dw
