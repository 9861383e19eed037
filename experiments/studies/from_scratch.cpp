// The mark embedded while a network trains from scratch, beside the same network without one.
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/experiment.h"
#include "experiments/studies/summary.h"
#include "watermark/statistics.h"

namespace dw {
namespace {

constexpr double owned_log2_p = -64;

Findings run(ExperimentContext& context) {
  const auto seeds = context.choose<uint64_t>(1, 3, 3);
  Table table({"seed", "unmarked %", "marked %", "difference", "bit errors", "log₂ p", "seconds unmarked",
               "seconds marked"});
  std::vector<double> plain, marked, differences;
  int worst_errors = 0, bits = 0;
  double weakest = -1e9, mark_seconds = 0, plain_seconds = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const NetworkRequest bare{.seed = seed};
    const NetworkRequest owned{.scheme = "deepwater", .seed = seed};
    const TrainedFile bare_file = context.network(bare), owned_file = context.network(owned);
    const Json reading = context.attacked(owned, "");
    plain.push_back(100 * bare_file.accuracy);
    marked.push_back(100 * owned_file.accuracy);
    differences.push_back(marked.back() - plain.back());
    bits = reading["bits"].get<int>();
    worst_errors = std::max(worst_errors, reading["errors"].get<int>());
    weakest = std::max(weakest, reading["log2_p"].get<double>());
    plain_seconds += bare_file.seconds;
    mark_seconds += owned_file.seconds;
    table.add_row({std::to_string(seed), fmt::format("{:.2f}", plain.back()),
                   fmt::format("{:.2f}", marked.back()), fmt::format("{:+.2f}", differences.back()),
                   fmt::format("{}/{}", reading["errors"].get<int>(), bits),
                   fmt::format("{:.0f}", reading["log2_p"].get<double>()),
                   fmt::format("{:.1f}", bare_file.seconds), fmt::format("{:.1f}", owned_file.seconds)});
  }
  const Moments difference = moments_of(differences);
  // Two standard errors of the mean difference; one seed says nothing of the spread.
  const double allowed = 2 * difference.deviation / std::sqrt(static_cast<double>(seeds));

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
  findings.goals.push_back({"every bit reads back from a network trained from scratch",
                            fmt::format("at most {} of {} bits wrong in {} seeds", worst_errors, bits, seeds),
                            worst_errors == 0});
  findings.goals.push_back({"the owner is proven at p ≤ 2⁻⁶⁴",
                            fmt::format("weakest p = 2^{:.0f} over {} seeds", weakest, seeds),
                            weakest <= owned_log2_p});
  findings.goals.push_back(
      {"the marked network is as accurate as the unmarked one, within two standard errors of the seeds",
       fmt::format("{} points; two standard errors are {:.2f}", spread(differences, true), allowed),
       seeds > 1 && difference.mean >= -allowed});
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
