// What is known of others' schemes beside the same quantities measured here.
#include <array>
#include <nlohmann/json.hpp>

#include "experiments/experiment.h"

namespace dw {
namespace {

struct PublishedFigure {
  std::string attack;    ///< as parse_attacks() reads it
  std::string quantity;  ///< what is attacked, in words
  std::string value;
  std::string source;
};

constexpr const char* uchida_paper = "Uchida et al. 2017, arXiv 1701.04082";
constexpr const char* uchida_known = "known of the scheme with random X; not from its paper";
constexpr const char* zhang_abstract = "Zhang et al. 2021, abstract: the mark is said to remain";

// Bit error rates of Uchida's scheme, and what the abstract of Zhang et al. claims of theirs.
const std::array figures{
    PublishedFigure{"prune:0.65", "65 % of the weights removed", "0 %", uchida_paper},
    PublishedFigure{"prune:0.65", "65 % of the weights removed", "intact", zhang_abstract},
    PublishedFigure{"prune:0.8", "80 % removed", "1.6 %", uchida_known},
    PublishedFigure{"prune:0.9", "90 % removed", "3.9 %", uchida_known},
    PublishedFigure{"prune:0.95", "95 % removed", "10.6 %", uchida_known},
    PublishedFigure{"prune:0.99", "99 % removed", "26 %", uchida_known},
    PublishedFigure{"quantise:3", "quantised to 3 bits", "7 %", uchida_known},
    PublishedFigure{"quantise:2", "quantised to 2 bits", "46 %", uchida_known},
    PublishedFigure{"noise:2", "normal noise of 2 σ", "0.1 %", uchida_known},
    PublishedFigure{"noise:4", "normal noise of 4 σ", "4.8 %", uchida_known},
    PublishedFigure{"shift:1.5", "weights shifted by 1.5 means, with noise", "100 %", uchida_known},
};

Findings run(ExperimentContext& context) {
  const auto error_rate = [](const Json& reading) {
    return fmt::format("{:.1f} %", 100.0 * reading["errors"].get<int>() / reading["bits"].get<int>());
  };
  const NetworkRequest ours{.scheme = "deepwater"}, theirs{.scheme = "uchida"};
  Table table({"attack", "published", "source", "uchida here", "deepwater here", "accuracy here %"});
  int worse = 0, compared = 0;
  for (const PublishedFigure& figure : figures) {
    const Json our = context.attacked(ours, figure.attack);
    const Json their = context.attacked(theirs, figure.attack);
    ++compared;
    worse += our["errors"].get<int>() * their["bits"].get<int>() >
             their["errors"].get<int>() * our["bits"].get<int>();
    table.add_row({figure.quantity, figure.value, figure.source, error_rate(their), error_rate(our),
                   fmt::format("{:.1f}", 100 * our["accuracy"].get<double>())});
  }
  Findings findings;
  findings.sections.push_back(
      {.title = "Bit errors after attacks that need no training",
       .text =
           "Published figures are of other networks and data (Uchida's: WRN-10-4, CIFAR-10, 200 epochs); the "
           "columns `here` were measured in this run, both schemes on the same network, data and seed.",
       .table = table,
       .caption = "Bit error rates. Accuracy is that of the network marked by deepwater, after the attack."});
  findings.goals.push_back({"bit errors not above Uchida's on any of these attacks, in the same run",
                            fmt::format("above in {} of {}", worse, compared), worse == 0});
  return findings;
}

}  // namespace

Experiment published_figures_experiment() {
  return {"published-figures", "Published figures beside ours",
          "What do others report of their schemes, and what do the same attacks do here?", run};
}

}  // namespace dw
