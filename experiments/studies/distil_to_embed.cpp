// The mark embedded while a student learns from an unmarked teacher, with and without the true labels.
#include "experiments/embedding_measurement.h"
#include "experiments/studies/summary.h"

namespace dw {
namespace {

constexpr int64_t quick_epochs = 3;  // minutes for all students together

Findings run(ExperimentContext& context) {
  const auto seeds = context.choose<uint64_t>(1, 6, 3);
  const int64_t epochs = context.preset() == Preset::quick ? quick_epochs : context.settings().recipe.epochs;
  std::vector<std::string> header{"seed", "student learns from", "mark", "accuracy %"};
  add_reading_heads(header);
  Table table(header);
  WorstReading worst, worst_pruned;
  std::vector<double> labelled_loss, soft_loss;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const NetworkRequest teacher{.seed = seed};
    const auto add = [&](const std::string& source, bool marked, const EmbeddingMeasurement& measured) {
      std::vector<std::string> row{std::to_string(seed), source, marked ? "yes" : "no",
                                   fmt::format("{:.2f}", measured.accuracy)};
      add_readings(row, measured);
      table.add_row(row);
    };
    const EmbeddingMeasurement taught = measure_embedding(context, teacher);
    add("labels alone (the teacher)", false, taught);
    for (const Situation situation : {Situation::distil, Situation::distil_soft}) {
      const bool soft = situation == Situation::distil_soft;
      NetworkRequest student{.seed = 100 + seed};
      student.situation = situation;
      student.epochs = epochs;
      student.host = {teacher};
      const EmbeddingMeasurement plain = measure_embedding(context, student);
      student.scheme = "deepwater";
      const EmbeddingMeasurement marked = measure_embedding(context, student);
      const std::string source = soft ? "teacher alone" : "teacher and labels";
      add(source, false, plain);
      add(source, true, marked);
      (soft ? soft_loss : labelled_loss).push_back(marked.accuracy - plain.accuracy);
      worst.add(marked.readings[0]);
      worst_pruned.add(marked.readings[1]);
    }
  }

  Findings findings;
  const DistillationOptions options;
  findings.sections.push_back(
      {.title = "Students of an unmarked teacher",
       .text = fmt::format(
           "Students learn for {} epochs at temperature {}; beside the labels, the soft targets weigh "
           "{}. Marked against unmarked students: {} points with labels, {} without.",
           epochs, options.temperature, options.alpha, spread(labelled_loss, true), spread(soft_loss, true)),
       .table = table,
       .caption = "Teacher and student are the same kind of network; the student starts from "
                  "other values."});
  findings.goals.push_back(worst.no_error_goal("every bit reads back from a distilled student"));
  findings.goals.push_back(
      worst_pruned.proven_goal("proven at p ≤ 2⁻⁶⁴ after 65 % of the student's weights are removed"));
  findings.goals.push_back(no_loss_goal(
      "a marked student is as accurate as an unmarked one, taught with labels, within two standard errors",
      labelled_loss));
  findings.goals.push_back(no_loss_goal(
      "a marked student is as accurate as an unmarked one, taught without labels, within two standard errors",
      soft_loss));
  return findings;
}

}  // namespace

Experiment distil_to_embed_experiment() {
  return {"distil-to-embed", "Embedding while distilling",
          "Does a student that learns from a teacher's soft targets take the mark as one that learns from "
          "labels does?",
          run};
}

}  // namespace dw
