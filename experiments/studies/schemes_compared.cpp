// Ours and others' schemes on the same networks, data, seeds, payloads, attacks and statistics.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/studies/summary.h"
#include "watermark/trigger_set.h"

namespace dw {
namespace {

constexpr const char* our_scheme = "deepwater";

struct Attempt {
  std::string name;    ///< as the table shows it
  std::string attack;  ///< "{}" stands for the victim's scheme
  bool trains = false;
  bool must_win = false;       ///< where ours has to be strictly better
  std::string published = {};  ///< of Uchida's scheme with random X
};

std::vector<Attempt> attempts(const ExperimentContext& context) {
  if (context.preset() == Preset::smoke) {
    return {{"none", ""},
            {"90 % pruned", "prune:0.9", false, true, "3.9 %"},
            {"shifted", "shift", false, true, "100 %"},
            {"overwritten, same scheme", "overwrite:scheme={}:epochs=1", true, true}};
  }
  const auto epochs = context.choose(1, 3, 20);
  return {{"none", ""},
          {"65 % pruned", "prune:0.65", false, false, "0 %"},
          {"80 % pruned", "prune:0.8", false, true, "1.6 %"},
          {"90 % pruned", "prune:0.9", false, true, "3.9 %"},
          {"95 % pruned", "prune:0.95", false, true, "10.6 %"},
          {"99 % pruned", "prune:0.99", false, true, "26 %"},
          {"4 bits", "quantise:4"},
          {"3 bits", "quantise:3", false, false, "7 %"},
          {"2 bits", "quantise:2", false, true, "46 %"},
          {"noise of 2 σ", "noise:2", false, false, "0.1 %"},
          {"shifted", "shift", false, true, "100 %"},
          {"fine-tuned", fmt::format("finetune:{}", epochs), true, false, "0 %"},
          {"overwritten, same scheme", fmt::format("overwrite:scheme={{}}:epochs={}", epochs), true, true},
          {"overwritten, λ × 100", fmt::format("overwrite:scheme={{}}:lambda=100:epochs={}", epochs), true,
           true, "about 46 %"},
          {"transferred", fmt::format("transfer:{}", epochs), true, false, "0 %"}};
}

std::vector<std::string> compared_schemes() {
  std::vector<std::string> names;
  for (const Scheme* scheme : schemes()) names.push_back(scheme->name());
  return names;
}

bool is_black_box(const std::string& scheme) {
  return !scheme_named(scheme).reads_weights();
}

// Attacks that train are done on one seed of the others' networks: minutes each.
uint64_t seeds_of(const ExperimentContext& context, const std::string& scheme, bool trains) {
  const auto seeds = context.choose<uint64_t>(1, 3, 3);
  if (context.preset() == Preset::paper) return seeds;
  return (trains && scheme != our_scheme) || is_black_box(scheme) ? 1 : seeds;
}

// Greedy residuals were published for 200 epochs; in a run of minutes their pull is too weak to finish.
NetworkRequest request_of(const ExperimentContext& context, const std::string& scheme, uint64_t seed) {
  NetworkRequest request{.scheme = scheme, .seed = seed};
  if (scheme == "greedy-residual" && context.preset() != Preset::paper)
    request.options.values["lambda"] = "0.1";
  return request;
}

struct Outcome {
  std::vector<double> error_rates, accuracies, log2_p;  // one a seed

  bool is_empty() const { return error_rates.empty(); }
  double error_rate() const { return moments_of(error_rates).mean; }
  std::string text() const {
    return is_empty()
               ? ""
               : fmt::format("{:.1f} % ({:.1f})", 100 * error_rate(), 100 * moments_of(accuracies).mean);
  }
};

Outcome outcome_of(ExperimentContext& context, const std::string& scheme, const Attempt& attempt) {
  Outcome outcome;
  // A trigger set has no λ to multiply.
  if (is_black_box(scheme) && attempt.attack.find("lambda") != std::string::npos) return outcome;
  std::string attack = attempt.attack;
  if (const size_t place = attack.find("{}"); place != std::string::npos) attack.replace(place, 2, scheme);
  for (uint64_t seed = 1; seed <= seeds_of(context, scheme, attempt.trains); ++seed) {
    const Json reading = context.attacked(request_of(context, scheme, seed), attack);
    outcome.error_rates.push_back(reading["errors"].get<double>() / reading["bits"].get<double>());
    outcome.accuracies.push_back(reading["accuracy"].get<double>());
    outcome.log2_p.push_back(reading["log2_p"].get<double>());
  }
  return outcome;
}

// Of the same seeds.
double paired_error_rate(const Outcome& outcome, size_t seeds) {
  return moments_of(std::span(outcome.error_rates).first(std::min(seeds, outcome.error_rates.size()))).mean;
}

std::vector<BinomialDraw> strangers(const Model& model, const OwnerKey& key, const Mark& mark, int keys,
                                    Device device) {
  constexpr uint64_t null_seed = 1;
  if (scheme_named(mark.scheme).reads_weights())
    return reader_of(model, mark)->read_null({&key.statement, null_seed, keys, {}});
  const ImageSet set = image_set_of(trigger_set_of(key.master, key.statement, mark));
  return strangers_agreement(predictions_of(model, set, device), key.statement, mark, null_seed, keys);
}

int stranger_count(const ExperimentContext& context) {
  return context.choose(200, 1000, 1000);
}

struct Calibration {
  double marked = 0, unmarked = 0;  // KS p-values
};

Calibration calibration_of(ExperimentContext& context, const std::string& scheme) {
  const int keys = stranger_count(context);
  const Json found = context.cell(fmt::format("{} strangers' keys read {}", keys, scheme), [&]() -> Json {
    const TrainedFile marked = context.network(request_of(context, scheme, 1)),
                      unmarked = context.network({.seed = 1});
    const OwnerKey key = load_key(marked.key);
    const Mark mark = load_claim(marked.claim).marks.front().mark;
    const double chance =
        scheme_named(scheme).reads_weights() ? 0.5 : 1.0 / static_cast<double>(trigger_classes(mark));
    const auto fit = [&](const TrainedFile& file) {
      return binomial_fit_p_value(strangers(read_model(file.model), key, mark, keys, context.device()), 1,
                                  chance);
    };
    return {{"marked", fit(marked)}, {"unmarked", fit(unmarked)}};
  });
  return {found["marked"].get<double>(), found["unmarked"].get<double>()};
}

// Paired with the unmarked network of the same seed, in points. Accuracy is the noisier measure, and no
// attack has to be tried on these networks: more seeds.
std::vector<double> accuracy_changes(ExperimentContext& context, const std::string& scheme) {
  const auto seeds =
      is_black_box(scheme) ? seeds_of(context, scheme, false) : context.choose<uint64_t>(1, 6, 3);
  std::vector<double> changes;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    changes.push_back(100 * (context.network(request_of(context, scheme, seed)).accuracy -
                             context.network({.seed = seed}).accuracy));
  }
  return changes;
}

std::string pruning_plot(const std::vector<Attempt>& list,
                         const std::map<std::string, std::vector<Outcome>>& outcomes) {
  Chart chart{.figure = {.title = "Bit errors after pruning",
                         .description = "Bit error rate over the fraction of weights removed, by scheme"},
              .x = {.label = "weights removed (%)"},
              .y = {.label = "bit error rate (%)", .lowest = 0},
              .series = {}};
  for (const auto& [scheme, results] : outcomes) {
    Series series{.name = scheme, .x = {}, .y = {}, .markers = true};
    for (size_t i = 0; i < list.size(); ++i) {
      if (!list[i].attack.starts_with("prune:")) continue;
      series.x.push_back(100 * std::stod(list[i].attack.substr(6)));
      series.y.push_back(100 * results[i].error_rate());
    }
    chart.series.push_back(series);
  }
  return plot(chart);
}

Goal not_above_goal(const std::string& other, const std::vector<Attempt>& list,
                    const std::vector<Outcome>& ours, const std::vector<Outcome>& theirs, bool strictly) {
  std::vector<std::string> missed;
  int compared = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    if (theirs[i].is_empty() || (strictly && !list[i].must_win)) continue;
    ++compared;
    const size_t seeds = theirs[i].error_rates.size();
    const double our = paired_error_rate(ours[i], seeds), their = paired_error_rate(theirs[i], seeds);
    if (strictly ? our >= their : our > their)
      missed.push_back(fmt::format("{} ({:.1f} against {:.1f} %)", list[i].name, 100 * our, 100 * their));
  }
  const std::string statement =
      strictly ? fmt::format(
                     "strictly fewer bit errors than {} on pruning from 80 %, 2 bits, shifting, overwriting",
                     other)
               : fmt::format("bit errors not above those of {} on any attack", other);
  return {statement,
          missed.empty()
              ? fmt::format("so on all {}", compared)
              : fmt::format("not so on {} of {}: {}", missed.size(), compared, fmt::join(missed, ", ")),
          compared > 0 && missed.empty()};
}

Goal overwriting_goal(const std::vector<Attempt>& list, const std::vector<Outcome>& ours) {
  constexpr double allowed = 0.05;
  int kept = 0, broken = 0;
  std::string worst;
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].attack.starts_with("overwrite")) continue;
    for (size_t s = 0; s < ours[i].error_rates.size(); ++s) {
      if (ours[i].accuracies[s] < ours[0].accuracies[s] - allowed) continue;
      ++kept;
      if (ours[i].error_rates[s] == 0) continue;
      ++broken;
      worst = fmt::format(", {:.1f} % wrong when {}", 100 * ours[i].error_rates[s], list[i].name);
    }
  }
  return {"overwriting with another key changes no bit while accuracy is within 5 points",
          fmt::format("{} of {} such networks lost bits{}", broken, kept, worst), broken == 0};
}

Findings run(ExperimentContext& context) {
  const std::vector<Attempt> list = attempts(context);
  const std::vector<std::string> names = compared_schemes();
  std::map<std::string, std::vector<Outcome>> outcomes;
  std::map<std::string, std::vector<double>> changes;
  for (const std::string& scheme : names) {
    changes[scheme] = accuracy_changes(context, scheme);
    for (const Attempt& attempt : list) outcomes[scheme].push_back(outcome_of(context, scheme, attempt));
  }

  std::vector<std::string> header{"attack"};
  for (const std::string& scheme : names) header.push_back(scheme);
  std::vector<std::string> error_header = header;
  error_header.push_back("uchida, published");
  Table errors(error_header), evidence(header);
  for (size_t i = 0; i < list.size(); ++i) {
    std::vector<std::string> row{list[i].name}, p_row{list[i].name};
    for (const std::string& scheme : names) {
      const Outcome& outcome = outcomes[scheme][i];
      row.push_back(outcome.text());
      p_row.push_back(outcome.is_empty() ? ""
                                         : fmt::format("{:.0f}", *std::ranges::max_element(outcome.log2_p)));
    }
    row.push_back(list[i].published);
    errors.add_row(row);
    evidence.add_row(p_row);
  }
  Table accuracy({"scheme", "change in accuracy (points)", "seeds", "strangers fit, unmarked p", "marked p"});
  bool calibrated = true;
  std::string weakest;
  for (const std::string& scheme : names) {
    const Calibration calibration = calibration_of(context, scheme);
    constexpr double least = 0.01;
    if (calibration.marked <= least || calibration.unmarked <= least) {
      calibrated = false;
      weakest += fmt::format("{}{}", weakest.empty() ? "" : ", ", scheme);
    }
    accuracy.add_row({scheme, spread(changes[scheme], true), std::to_string(changes[scheme].size()),
                      fmt::format("{:.2f}", calibration.unmarked),
                      fmt::format("{:.2f}", calibration.marked)});
  }

  Findings findings;
  findings.sections.push_back(
      {.title = "Accuracy and strangers' keys",
       .text = fmt::format(
           "Change against the unmarked network of the same seed. Strangers: p-value of the fit of "
           "{} random keys' matches to the binomial, on the unmarked and on the marked network; "
           "below 0.01 the scheme's p-values would not be trusted.",
           stranger_count(context)),
       .table = accuracy});
  findings.sections.push_back({.title = "Bit errors after attacks",
                               .text = "Bit error rate and, in brackets, accuracy after the attack in %. For "
                                       "the trigger set, wrong labels of "
                                       "its pictures. Attacks that train were done on one seed of the "
                                       "others' networks in the quick preset, on "
                                       "all seeds of ours.",
                               .table = errors,
                               .svg = pruning_plot(list, outcomes),
                               .caption = "Published: Uchida et al. 2017 (arXiv 1701.04082) and what is "
                                          "known of its scheme with random X, on "
                                          "WRN-10-4; other networks and other data than here."});
  findings.sections.push_back({.title = "Weakest evidence",
                               .text = "log₂ p of the worst seed; −64 or less proves the owner.",
                               .table = evidence});

  const std::vector<Outcome>& ours = outcomes[our_scheme];
  findings.goals.push_back(
      no_loss_goal("our mark costs no accuracy, within two standard errors", changes[our_scheme]));
  for (const std::string& scheme : names) {
    if (scheme == our_scheme || is_black_box(scheme)) continue;
    std::vector<double> differences;
    for (size_t s = 0; s < std::min(changes[scheme].size(), changes[our_scheme].size()); ++s)
      differences.push_back(changes[our_scheme][s] - changes[scheme][s]);
    findings.goals.push_back(no_loss_goal(
        fmt::format("accuracy not worse than with {}, within two standard errors", scheme), differences));
    findings.goals.push_back(not_above_goal(scheme, list, ours, outcomes[scheme], false));
    findings.goals.push_back(not_above_goal(scheme, list, ours, outcomes[scheme], true));
  }
  findings.goals.push_back(overwriting_goal(list, ours));
  findings.goals.push_back(
      {"strangers' keys follow the binomial on unmarked and on marked networks, every scheme",
       calibrated ? "p > 0.01 for each" : "not for " + weakest, calibrated});
  return findings;
}

}  // namespace

Experiment schemes_compared_experiment() {
  return {"schemes-compared", "Our scheme beside others'",
          "On the same networks, data and attacks: which marks stay readable, and what do they cost?", run};
}

}  // namespace dw
