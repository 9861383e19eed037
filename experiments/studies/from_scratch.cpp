// The mark embedded while a network trains from scratch, beside the same network without one.
#include <nlohmann/json.hpp>

#include "experiments/experiment.h"
#include "experiments/studies/summary.h"

namespace dw {
namespace {

Findings run(ExperimentContext& context) {
  // Networks of one kind differ by half a point: a cost of that size shows over a dozen of them only.
  const auto seeds = context.choose<uint64_t>(1, 12, 3);
  Table table({"seed", "unmarked %", "marked %", "difference", "bit errors", "log₂ p", "seconds unmarked",
               "seconds marked"});
  std::vector<double> plain, marked, differences;
  WorstReading worst;
  double mark_seconds = 0, plain_seconds = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const NetworkRequest bare{.seed = seed};
    const NetworkRequest owned{.scheme = "deepwater", .seed = seed};
    const TrainedFile bare_file = context.network(bare), owned_file = context.network(owned);
    const MarkReading reading = reading_from(context.attacked(owned, ""));
    plain.push_back(100 * bare_file.accuracy);
    marked.push_back(100 * owned_file.accuracy);
    differences.push_back(marked.back() - plain.back());
    worst.add(reading);
    plain_seconds += bare_file.seconds;
    mark_seconds += owned_file.seconds;
    table.add_row({std::to_string(seed), fmt::format("{:.2f}", plain.back()),
                   fmt::format("{:.2f}", marked.back()), fmt::format("{:+.2f}", differences.back()),
                   fmt::format("{}/{}", reading.errors, reading.bits), fmt::format("{:.0f}", reading.log2_p),
                   fmt::format("{:.1f}", bare_file.seconds), fmt::format("{:.1f}", owned_file.seconds)});
  }
  Findings findings;
  findings.sections.push_back(
      {.title = "Accuracy and mark",
       .text = fmt::format(
           "Unmarked {}, marked {}, paired difference {} points. Marked training took {:.2f} times "
           "as long.",
           spread(plain), spread(marked), spread(differences, true), mark_seconds / plain_seconds),
       .table = table,
       .caption = "Test accuracy after the last epoch; the same seed starts both networks and orders their "
                  "pictures."});
  findings.goals.push_back(worst.no_error_goal("every bit reads back from a network trained from scratch"));
  findings.goals.push_back(worst.proven_goal("the owner is proven at p ≤ 2⁻⁶⁴"));
  findings.goals.push_back(no_loss_goal(
      "the marked network is as accurate as the unmarked one, within two standard errors of the seeds",
      differences));
  return findings;
}

}  // namespace

Experiment from_scratch_experiment() {
  return {"from-scratch", "Embedding while training from scratch",
          "Does a network trained with the mark stay as accurate as its twin without, and does every bit "
          "read back?",
          run};
}

}  // namespace dw
