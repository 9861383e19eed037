// The demo's report: what was done, what was found, as one HTML file.
#include <cmath>

#include "experiments/demo.h"
#include "experiments/html_report.h"
#include "experiments/plot.h"
#include "experiments/png.h"
#include "experiments/text.h"

namespace dw {
namespace {

Series accuracy_series(const std::string& name, const std::vector<EpochMetrics>& epochs) {
  Series series{.name = name, .x = {}, .y = {}, .markers = true};
  for (const EpochMetrics& epoch : epochs) {
    series.x.push_back(static_cast<double>(epoch.epoch));
    series.y.push_back(100 * epoch.test_accuracy);
  }
  return series;
}

std::string training_plot(const DemoResult& result) {
  Chart chart;
  chart.figure = {"Test accuracy while training",
                  "Test accuracy of the marked and the unmarked network by epoch"};
  chart.x.label = "epoch";
  chart.y.label = "test accuracy (%)";
  chart.series = {accuracy_series("marked", result.marked), accuracy_series("unmarked", result.unmarked)};
  return plot(chart);
}

// Values of the owner's readings of the marked network, by fraction pruned.
template <typename Value>
Series pruning_series(const DemoResult& result, const std::string& name, const Value& value) {
  Series series{.name = name, .x = {}, .y = {}, .markers = true};
  for (const DemoVerdict& row : result.verdicts) {
    if (row.claimant != "owner" || !row.suspect.starts_with("marked")) continue;
    series.x.push_back(100 * row.pruned);
    series.y.push_back(value(row));
  }
  return series;
}

std::string pruning_plot(const DemoResult& result) {
  Chart chart;
  chart.figure = {"Pruning destroys the network before the mark",
                  "Test accuracy and share of matching bits against the share of weights removed"};
  chart.x.label = "weights removed (%)";
  chart.y = {.label = "%", .lowest = 0, .highest = 100};
  chart.series = {pruning_series(result, "bits that match",
                                 [](const DemoVerdict& row) {
                                   return 100.0 * row.verdict.matches.matches / row.verdict.bits;
                                 }),
                  pruning_series(result, "test accuracy",
                                 [](const DemoVerdict& row) { return 100 * row.evaluation.accuracy; })};
  return plot(chart);
}

std::string evidence_plot(const DemoResult& result) {
  Chart chart;
  chart.figure = {"Evidence", "Bits of evidence against the share of weights removed"};
  chart.x.label = "weights removed (%)";
  chart.y = {.label = "evidence, −log₂ p (bits)", .lowest = 0};
  chart.series = {
      pruning_series(result, "owner's key", [](const DemoVerdict& row) { return -row.verdict.log2_p; })};
  chart.horizontal = {{64, "OWNED from here"}};
  return plot(chart);
}

std::vector<Picture> sample_pictures(const ImageSet& set) {
  constexpr size_t most_shown = 20;
  std::vector<Picture> pictures;
  if (!set.is_held()) return pictures;
  for (size_t c = 0; c < set.classes.size() && pictures.size() < most_shown; ++c) {
    for (int64_t i = 0; i < set.size(); ++i) {
      if (set.labels[static_cast<size_t>(i)] != static_cast<int64_t>(c)) continue;
      pictures.push_back({encode_png(set.held_image(i), static_cast<size_t>(set.width),
                                     static_cast<size_t>(set.height), static_cast<size_t>(set.channels)),
                          set.classes[c], "a training image of class " + set.classes[c]});
      break;
    }
  }
  return pictures;
}

}  // namespace

Table demo_table(const DemoResult& result) {
  Table table({"suspect", "claimed by", "accuracy %", "bits", "error %", "log₂ p", "verdict"});
  for (const DemoVerdict& row : result.verdicts) {
    table.add_row({row.suspect, row.claimant, fmt::format("{:.1f}", 100 * row.evaluation.accuracy),
                   fmt::format("{}/{}", row.verdict.matches.matches, row.verdict.bits),
                   fmt::format("{:.1f}", 100 * row.verdict.bit_error_rate),
                   fmt::format("{:.1f}", row.verdict.log2_p), row.verdict.verdict()});
  }
  return table;
}

void write_demo_report(const DemoResult& result, const std::string& command) {
  HtmlReport report("Whose network is this?");
  report.lead(
      fmt::format("A {} was trained on {} while an owner's mark of {} bits was hidden in the distribution of "
                  "its weights. It reaches {} "
                  "on test images it never saw; the same network without a mark reaches {}.",
                  result.plan.network, result.data.name, result.mark.bits, percent(result.marked_accuracy()),
                  percent(result.unmarked_accuracy())));
  for (const DemoVerdict& row : result.verdicts) {
    const bool shown = row.claimant != "owner" || !row.expected_owned || row.pruned == 0 ||
                       row.pruned == 0.65 || row.pruned == 0.95;
    if (!shown) continue;
    report.verdict(
        row.verdict.owned == row.expected_owned ? Tone::good : Tone::bad,
        fmt::format("{}: {}", row.suspect, row.verdict.verdict()),
        fmt::format("claimed by the {}: {} of {} bits match, p = 2{}, accuracy {}", row.claimant,
                    row.verdict.matches.matches, row.verdict.bits,
                    superscript(std::llround(row.verdict.log2_p)), percent(row.evaluation.accuracy)));
  }
  report.section("Verdicts");
  report.table(demo_table(result),
               "Each suspect is read from its weights file alone. p is the chance that an unrelated key "
               "matches as many bits.");
  report.plot(pruning_plot(result), "Pruned weights are set to zero, smallest first, in every layer.");
  report.plot(evidence_plot(result));
  report.section("Strangers' keys");
  const Verdict& verdict = result.verdicts.front().verdict;
  report.paragraph(
      fmt::format("{} random keys scored on the marked network match {:.1f} ± {:.1f} of {} bits, as chance "
                  "predicts ({:.1f} ± {:.1f}); "
                  "a test of the whole distribution gives p = {:.2f}.",
                  verdict.null_keys, verdict.null_matches_mean, verdict.null_matches_deviation, verdict.bits,
                  verdict.bits / 2.0, std::sqrt(verdict.bits) / 2, verdict.null_uniform_p));
  report.section("Training");
  report.plot(training_plot(result));
  if (const std::vector<Picture> pictures = sample_pictures(result.data.train); !pictures.empty())
    report.pictures(pictures, "One training image of each class.");
  report.section("How to get this again");
  std::vector<std::pair<std::string, std::string>> facts{
      {"Command", command},
      {"Seed", std::to_string(result.plan.seed)},
      {"Run time", fmt::format("{:.0f} s", result.seconds)}};
  for (const auto& row : environment_rows(describe_environment())) facts.push_back(row);
  report.facts("Run", facts);
  report.details("Results as JSON", to_json(result));
  report.write(result.plan.out / "report.html");
}

}  // namespace dw
