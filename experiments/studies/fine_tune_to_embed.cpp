// The mark put into a finished network: in a few epochs of fine-tuning, and without any picture.
#include <array>

#include "experiments/embedding_measurement.h"
#include "experiments/studies/summary.h"

namespace dw {
namespace {

// What is judged is the scheme's default for finished networks; beside it stand stronger marks. The marked
// weights must move by about z*/√m of their norm (m: weights a bit).
constexpr std::array stronger{"4", "7"};

Findings run(ExperimentContext& context) {
  const auto seeds = context.choose<uint64_t>(1, 12, 3);
  constexpr uint64_t seeds_of_stronger = 6;  // which decide no goal
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
    add("finished, unmarked", bare, bare.accuracy);
    add("fine-tuned, unmarked", control, bare.accuracy);
    // At the default strength; the stronger ones are only shown.
    const auto marked = [&](const std::string& name, Situation situation) {
      const NetworkRequest standard = request("deepwater", situation);
      EmbeddingMeasurement measured = measure_embedding(context, standard);
      const Mark mark = load_claim(context.network(standard).claim).marks.front().mark;
      add(fmt::format("{}, strength {:g} (default)", name, mark.strength), measured, bare.accuracy);
      for (const char* strength : stronger) {
        if (seed > seeds_of_stronger) break;
        NetworkRequest more = standard;
        more.options.values["strength"] = strength;
        add(fmt::format("{}, strength {}", name, strength), measure_embedding(context, more), bare.accuracy);
      }
      return measured;
    };
    const EmbeddingMeasurement tuned = marked("fine-tuned, marked", Situation::fine_tune);
    const EmbeddingMeasurement unseen = marked("marked without data", Situation::data_free);
    tuned_loss.push_back(tuned.accuracy - control.accuracy);
    free_loss.push_back(unseen.accuracy - bare.accuracy);
    tuned_worst.add(tuned.readings[0]);
    free_worst.add(unseen.readings[0]);
    tuned_pruned.add(tuned.readings[2]);
    free_pruned.add(unseen.readings[2]);
  }

  Findings findings;
  const Recipe& recipe = context.settings().fine_tuning;
  findings.sections.push_back(
      {.title = "Marking a finished network",
       .text = fmt::format(
           "{} epochs of fine-tuning at learning rate {}. At the default strength, marked against unmarked "
           "fine-tuning: {} points. Without data, where ½‖w − w₀‖² + λ L is minimised over the marked "
           "weights "
           "alone, accuracy changes by {} points; how far weights must move is z*/√m of their norm, so that "
           "what is affordable grows with the network.",
           recipe.epochs, recipe.learning_rate, spread(tuned_loss, true), spread(free_loss, true)),
       .table = table,
       .caption =
           "Change is against the finished network; weights moved is ‖w − w₀‖ / ‖w₀‖ of the convolutions."});
  findings.goals.push_back(tuned_worst.no_error_goal("every bit reads back from a fine-tuned network"));
  findings.goals.push_back(no_loss_goal(
      "fine-tuning with the mark is as accurate as without, within two standard errors", tuned_loss));
  findings.goals.push_back(
      free_worst.no_error_goal("every bit reads back from a network marked without data"));
  constexpr double most_lost = 1;
  const Moments lost = moments_of(free_loss);
  findings.goals.push_back({"marking without data costs at most one point of accuracy",
                            fmt::format("{} points in {} seeds", spread(free_loss, true), seeds),
                            lost.mean >= -most_lost});
  findings.goals.push_back(
      tuned_pruned.no_error_goal("no bit is lost when 90 % of the weights are removed, fine-tuned"));
  findings.goals.push_back(
      free_pruned.no_error_goal("no bit is lost when 90 % of the weights are removed, marked without data"));
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
