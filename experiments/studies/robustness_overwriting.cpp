// The thief embeds a mark of their own: the same scheme or another, ever stronger, several times in a row.
#include <nlohmann/json.hpp>

#include "experiments/studies/robustness.h"

namespace dw {
namespace {

Findings run(ExperimentContext& context) {
  const std::string epochs = context.choose<std::string>("1", "2", "20");
  const auto seeds = context.choose<uint64_t>(1, 3, 3);
  const auto overwrite = [&](const std::string& scheme, const std::string& more) {
    return fmt::format("overwrite:{}:epochs={}{}", scheme, epochs, more);
  };
  const std::vector<std::string> strengths = context.choose<std::vector<std::string>>(
      {"1", "100"}, {"1", "10", "100", "1000"}, {"1", "10", "100", "1000"});

  // Each scheme by itself with another key, then by the other.
  std::vector<AttackRow> ours{{"none", ""}}, theirs{{"none", ""}};
  for (const std::string& factor : strengths) {
    ours.push_back({"deepwater, λ × " + factor, overwrite("deepwater", ":lambda=" + factor)});
    theirs.push_back({"uchida, λ × " + factor, overwrite("uchida", ":lambda=" + factor)});
  }
  ours.push_back({"deepwater, three times", overwrite("deepwater", ":times=3")});
  theirs.push_back({"uchida, three times", overwrite("uchida", ":times=3")});
  ours.push_back({"uchida", overwrite("uchida", "")});
  ours.push_back({"uchida, λ × 100", overwrite("uchida", ":lambda=100")});
  theirs.push_back({"deepwater", overwrite("deepwater", "")});
  ours.push_back({"neuralmark", overwrite("neuralmark", "")});
  const RobustnessGrid our_grid = run_grid(context, ours, {{"deepwater", {.scheme = "deepwater"}, seeds}});
  const RobustnessGrid their_grid = run_grid(context, theirs, {{"uchida", {.scheme = "uchida"}, seeds}});

  Findings findings;
  findings.sections.push_back(
      {.title = "A second mark over ours",
       .text = fmt::format(
           "The thief trains {} epochs on the owner's kind of data with a fresh key, learning rate 0.02, "
           "and reads the network as their own. `λ × N`: N times that scheme's default.",
           epochs),
       .table = our_grid.table(),
       .caption = "Accuracy after the attack, and the first owner's bits."});
  findings.sections.push_back(
      {.title = "A second mark over Uchida's",
       .text = "Uchida's scheme is reported as lost elsewhere (bit accuracy about 54 %).",
       .table = their_grid.table()});

  const double unharmed = our_grid.outcomes[0][0].mean_accuracy();
  constexpr double points = 5;
  std::vector<Outcome> harmless, by_ours, by_theirs;
  std::vector<std::string> costly;
  for (size_t r = 1; r < our_grid.rows.size(); ++r) {
    const Outcome& outcome = our_grid.outcomes[r][0];
    if (outcome.accuracy.empty() || outcome.mean_accuracy() < unharmed - points)
      costly.push_back(our_grid.rows[r].label);
    else
      harmless.push_back(outcome);
  }
  Goal kept = no_errors_goal("bit error rate 0 while the thief's accuracy is within 5 points", harmless);
  if (!costly.empty()) kept.measured += fmt::format("; cost more than 5 points: {}", fmt::join(costly, ", "));
  findings.goals.push_back(std::move(kept));

  // Row by row: our mark under our scheme, theirs under theirs.
  RobustnessGrid paired{{}, {our_grid.contenders[0], their_grid.contenders[0]}, {}};
  for (size_t i = 0; i <= strengths.size(); ++i) {
    paired.rows.push_back({i < strengths.size() ? "λ × " + strengths[i] : "three times", ""});
    paired.outcomes.push_back({our_grid.outcomes[i + 1][0], their_grid.outcomes[i + 1][0]});
  }
  findings.goals.push_back(
      not_worse_goal("overwritten by the same scheme: bit errors not above Uchida's", paired));
  // The strongest pull that leaves a network of either.
  size_t most = strengths.size() - 1;
  const auto destroyed = [&](size_t i) {
    return paired.outcomes[i][0].accuracy.empty() || paired.outcomes[i][1].accuracy.empty();
  };
  while (most > 0 && destroyed(most)) --most;
  const RobustnessGrid strongest{{paired.rows[most]}, paired.contenders, {paired.outcomes[most]}};
  findings.goals.push_back(not_worse_goal(
      fmt::format("overwritten by the same scheme at its strongest, {}: bit errors strictly below Uchida's",
                  paired.rows[most].label),
      strongest, true));
  return findings;
}

}  // namespace

Experiment robustness_overwriting_experiment() {
  return {"robustness-overwriting", "Overwriting by another mark",
          "Does a second mark, of the same scheme or another, erase the first?", run};
}

}  // namespace dw
