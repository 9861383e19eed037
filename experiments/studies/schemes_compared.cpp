// Ours and others' schemes on the same networks, data, seeds, payloads, attacks and statistics.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/studies/robustness.h"
#include "experiments/studies/summary.h"
#include "watermark/trigger_set.h"

namespace dw {
namespace {

constexpr const char* our_scheme = "deepwater";

struct Attempt {
  AttackRow row;            ///< known: published of Uchida's scheme with random X
  std::string family = {};  ///< over all attempts of one, ours has to be strictly better
  bool trains = false;
};

bool is_black_box(const std::string& scheme) {
  return !scheme_named(scheme).reads_weights();
}

std::vector<std::string> compared_schemes() {
  std::vector<std::string> names;
  for (const Scheme* scheme : schemes()) names.push_back(scheme->name());
  return names;
}

// A thief chooses a scheme and does not ask for the owner's: every scheme against every mark.
void add_thieves(std::vector<Attempt>& list, int epochs) {
  for (const std::string& thief : compared_schemes()) {
    const std::string attack = fmt::format("overwrite:scheme={}:epochs={}", thief, epochs);
    list.push_back({{fmt::format("overwritten by {}", thief), attack}, "overwriting", true});
    if (is_black_box(thief)) continue;  // a trigger set has no λ to multiply
    const std::string known = thief == "uchida" ? "about 46 %" : "";
    list.push_back({{fmt::format("overwritten by {}, λ × 100", thief), attack + ":lambda=100", known},
                    "overwriting",
                    true});
  }
}

std::vector<Attempt> attempts(const ExperimentContext& context) {
  const std::string pruning = "pruning from 80 %", coarse = "2 bits", shifting = "shifting",
                    transforms = "transforms, realigned", all = "dummy:0.25,permute,rescale,flip";
  if (context.preset() == Preset::smoke) {
    return {{{"none", ""}},
            {{"90 % pruned", "prune:0.9", "3.9 %"}, pruning},
            {{"shifted", "shift", "100 %"}, shifting},
            {{"overwritten by uchida", "overwrite:scheme=uchida:epochs=1"}, "overwriting", true},
            {{"transformed", all, "", true}, transforms}};
  }
  const auto epochs = context.choose(1, 3, 20);
  std::vector<Attempt> list{{{"none", ""}},
                            {{"65 % pruned", "prune:0.65", "0 %"}},
                            {{"80 % pruned", "prune:0.8", "1.6 %"}, pruning},
                            {{"90 % pruned", "prune:0.9", "3.9 %"}, pruning},
                            {{"95 % pruned", "prune:0.95", "10.6 %"}, pruning},
                            {{"98 % pruned", "prune:0.98"}, pruning},
                            {{"99 % pruned", "prune:0.99", "26 %"}, pruning},
                            {{"4 bits", "quantise:4"}},
                            {{"3 bits", "quantise:3", "7 %"}},
                            {{"2 bits", "quantise:2", "46 %"}, coarse},
                            {{"2 bits, by filter", "quantise:2:per=channel"}, coarse},
                            {{"2 bits, affine", "quantise:2:mode=affine"}, coarse},
                            {{"noise of 2 σ", "noise:2", "0.1 %"}},
                            {{"shifted", "shift", "100 %"}, shifting},
                            {{"shifted, noise of 1 σ", "shift:noise=1"}, shifting},
                            {{"shifted, noise of 2 σ", "shift:noise=2"}, shifting},
                            {{"transformed", all, "", true}, transforms},
                            {{"50 % pruned, transformed", "prune:0.5," + all, "", true}, transforms},
                            {{"90 % pruned, transformed", "prune:0.9," + all, "", true}, transforms},
                            {{"99 % pruned, transformed", "prune:0.99," + all, "", true}, transforms},
                            {{"fine-tuned", fmt::format("finetune:{}", epochs), "0 %"}, "", true},
                            {{"transferred", fmt::format("transfer:{}", epochs), "0 %"}, "", true}};
  add_thieves(list, epochs);
  return list;
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

Outcome outcome_of(ExperimentContext& context, const std::string& scheme, const Attempt& attempt) {
  // Predictions are read as they are: transforms keep the function.
  return attack_networks(context, request_of(context, scheme, 1), attempt.row.attack,
                         seeds_of(context, scheme, attempt.trains),
                         attempt.row.realigned && !is_black_box(scheme));
}

std::string text_of(const Outcome& outcome) {
  return outcome.accuracy.empty()
             ? "destroyed"
             : fmt::format("{:.1f} % ({:.1f})", outcome.mean_error_rate(), outcome.mean_accuracy());
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
      const std::string& attack = list[i].row.attack;
      if (!attack.starts_with("prune:") || list[i].row.realigned) continue;
      series.x.push_back(100 * std::stod(attack.substr(6)));
      series.y.push_back(results[i].mean_error_rate());
    }
    chart.series.push_back(series);
  }
  return plot(chart);
}

Goal not_above_goal(const std::string& other, const std::vector<Attempt>& list,
                    const std::vector<Outcome>& ours, const std::vector<Outcome>& theirs) {
  RobustnessGrid paired;
  for (size_t i = 0; i < list.size(); ++i) {
    paired.rows.push_back(list[i].row);
    paired.outcomes.push_back({ours[i], theirs[i]});
  }
  return not_worse_goal(fmt::format("bit errors not above those of {} on any attack", other), paired);
}

/// Over each family of attacks, from mild to beyond what leaves a network worth stealing: where both schemes
/// lose nothing at the mild end, the harsh end tells them apart.
Goal strictly_below_goal(const std::string& other, const std::vector<Attempt>& list,
                         const std::vector<Outcome>& ours, const std::vector<Outcome>& theirs) {
  std::vector<std::string> families, found;
  for (const Attempt& attempt : list)
    if (!attempt.family.empty() && std::ranges::find(families, attempt.family) == families.end())
      families.push_back(attempt.family);
  bool met = !families.empty();
  for (const std::string& family : families) {
    std::vector<double> our, their;
    for (size_t i = 0; i < list.size(); ++i) {
      if (list[i].family != family) continue;
      const auto rates = paired_error_rates(ours[i], theirs[i]);
      if (!rates) continue;
      our.push_back(rates->first), their.push_back(rates->second);
    }
    const double our_mean = moments_of(our).mean, their_mean = moments_of(their).mean;
    const bool below = !our.empty() && our_mean < their_mean;
    met = met && below;
    found.push_back(fmt::format("{} {:.2f} against {:.2f} %{}", family, our_mean, their_mean,
                                below ? "" : ", not below"));
  }
  return {fmt::format("fewer bit errors than {} over each family of attacks that the goals name", other),
          fmt::format("{}", fmt::join(found, "; ")), met};
}

Goal overwriting_goal(const std::vector<Attempt>& list, const std::vector<Outcome>& ours) {
  constexpr double points = 5;
  int kept = 0, broken = 0;
  std::string worst;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].family != "overwriting" || ours[i].destroyed > 0) continue;
    for (size_t s = 0; s < ours[i].error_rate.size(); ++s) {
      if (ours[i].accuracy[s] < ours[0].accuracy[s] - points) continue;
      ++kept;
      if (ours[i].error_rate[s] == 0) continue;
      ++broken;
      worst = fmt::format(", {:.1f} % wrong when {}", ours[i].error_rate[s], list[i].row.label);
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
    std::vector<std::string> row{list[i].row.label}, p_row{list[i].row.label};
    for (const std::string& scheme : names) {
      const Outcome& outcome = outcomes[scheme][i];
      row.push_back(text_of(outcome));
      p_row.push_back(outcome.accuracy.empty() ? "" : fmt::format("{:.0f}", outcome.weakest_log2_p));
    }
    row.push_back(list[i].row.known);
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
                                       "all seeds of ours. Overwritten: a thief trains with a mark of their "
                                       "own, of any scheme; λ × 100 is a hundred times that scheme's. "
                                       "Transformed: dummy neurons, permutation, rescaling, sign flips, all "
                                       "together, read after realignment to the owner's copy.",
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
    findings.goals.push_back(not_above_goal(scheme, list, ours, outcomes[scheme]));
    findings.goals.push_back(strictly_below_goal(scheme, list, ours, outcomes[scheme]));
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
