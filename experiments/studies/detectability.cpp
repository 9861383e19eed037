// Whether a stranger can tell marked networks from unmarked ones by their weights: an attacker who trains
// many small networks of both kinds, and the layers of the networks that the other experiments train.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/experiment.h"
#include "experiments/population.h"
#include "experiments/studies/summary.h"
#include "watermark/samples.h"
#include "watermark/statistics.h"

namespace dw {
namespace {

constexpr double largest_advantage = 0.05;     // of the area over one half
constexpr double largest_sigma_change = 0.01;  // of a layer

SchemeOptions ours(double strength, std::map<std::string, std::string> more = {}) {
  more.insert({"strength", fmt::format("{}", strength)});
  return {.values = std::move(more)};
}

/// How far apart two populations are: what an attacker makes of it, and which layers moved.
struct Comparison {
  Population population;
  PopulationResult result;
  Attacker regression, threshold, choosing;
  double sigma_ratio = 1;      // of the layer that moved most
  double kurtosis_change = 0;  // likewise
};

double mean_of(const PopulationResult& population, size_t feature) {
  double sum = 0;
  for (const std::vector<double>& row : population.features) sum += row[feature];
  return sum / static_cast<double>(population.features.size());
}

Json to_json(const Attacker& attacker) {
  return {{"value", attacker.area.value},
          {"low", attacker.area.low},
          {"high", attacker.area.high},
          {"null_deviation", attacker.null_deviation},
          {"detail", attacker.detail}};
}

Attacker attacker_from(const Json& json) {
  Attacker attacker;
  attacker.area = {json.at("value").get<double>(), json.at("low").get<double>(),
                   json.at("high").get<double>()};
  attacker.null_deviation = json.at("null_deviation").get<double>();
  attacker.detail = json.at("detail").get<std::string>();
  return attacker;
}

Comparison compare(ExperimentContext& context, const PopulationResult& unmarked, const Population& population,
                   const PopulationPlan& plan) {
  Comparison comparison{population, train_population(context, population, plan), {}, {}, {}};
  const PopulationResult& marked = comparison.result;
  const Json cell =
      context.cell(fmt::format("attack on {}, {}, {} networks of {} steps", population.network,
                               population.name, plan.networks, plan.steps),
                   [&] {
                     LabelledNetworks networks;
                     for (const bool kind : {true, false}) {
                       const auto& rows = kind ? marked.features : unmarked.features;
                       networks.features.insert(networks.features.end(), rows.begin(), rows.end());
                       networks.marked.insert(networks.marked.end(), rows.size(), kind);
                     }
                     AttackerOptions options;
                     options.seed = context.seed();
                     if (context.preset() == Preset::smoke) options.folds = 2, options.null_draws = 5;
                     if (context.preset() == Preset::quick) options.folds = 4, options.null_draws = 30;
                     return Json{{"regression", to_json(logistic_attacker(networks, options))},
                                 {"threshold", to_json(threshold_attacker(networks, marked.names, options))},
                                 {"choosing", to_json(choosing_attacker(networks, marked.names, options))}};
                   });
  comparison.regression = attacker_from(cell.at("regression"));
  comparison.threshold = attacker_from(cell.at("threshold"));
  comparison.choosing = attacker_from(cell.at("choosing"));
  for (size_t f = 0; f < marked.names.size(); ++f) {
    const double change = mean_of(marked, f) - mean_of(unmarked, f);
    if (marked.names[f].starts_with("all ")) continue;
    if (marked.names[f].ends_with("log σ") && std::fabs(change) > std::fabs(std::log(comparison.sigma_ratio)))
      comparison.sigma_ratio = std::exp(change);
    if (marked.names[f].ends_with("kurtosis") && std::fabs(change) > std::fabs(comparison.kurtosis_change))
      comparison.kurtosis_change = change;
  }
  return comparison;
}

std::string text_of(const AreaUnderCurve& area) {
  return fmt::format("{:.2f} [{:.2f}, {:.2f}]", area.value, area.low, area.high);
}

Table attack_table(const std::vector<Comparison>& comparisons) {
  Table table({"networks", "kind", "weights a bit", "a", "training accuracy %", "bits wrong %", "σ ratio",
               "kurtosis", "AUC, regression", "AUC, threshold", "AUC, choosing"});
  for (const Comparison& c : comparisons) {
    const bool marked = !c.population.scheme.empty();
    table.add_row({c.population.network, c.population.name,
                   marked ? fmt::format("{:.0f}", c.result.weights_per_bit) : "",
                   c.result.amplitude > 0 ? fmt::format("{:.2f}", c.result.amplitude) : "",
                   fmt::format("{:.1f}", 100 * c.result.training_accuracy),
                   marked ? fmt::format("{:.1f}", 100 * c.result.bit_error_rate) : "",
                   fmt::format("{:.3f}", c.sigma_ratio), fmt::format("{:+.2f}", c.kurtosis_change),
                   text_of(c.regression.area), text_of(c.threshold.area), text_of(c.choosing.area)});
  }
  return table;
}

using Place = double (*)(const Comparison&);

/// The choosing attacker's area against a property of the mark, with and without the marked start.
std::string area_plot(const std::vector<Comparison>& comparisons, const std::string& title, const Axis& axis,
                      const std::vector<std::pair<std::string, std::vector<size_t>>>& groups, Place place) {
  Chart chart;
  chart.figure = {title,
                  "The area under the curve of the attacker who chooses; the band is its 95 % interval"};
  chart.x = axis;
  chart.y = {.label = "area under the curve", .lowest = 0.2, .highest = 1};
  chart.horizontal = {{0.5, "guessing"}};
  for (const auto& [name, members] : groups) {
    Series series{.name = name, .x = {}, .y = {}, .markers = true};
    std::vector<size_t> ordered = members;
    std::sort(ordered.begin(), ordered.end(),
              [&](size_t a, size_t b) { return place(comparisons[a]) < place(comparisons[b]); });
    for (const size_t i : ordered) {
      const AreaUnderCurve area = comparisons[i].choosing.area;
      series.x.push_back(place(comparisons[i]));
      series.y.push_back(area.value);
      series.low.push_back(area.low);
      series.high.push_back(area.high);
    }
    chart.series.push_back(series);
  }
  return plot(chart);
}

struct LayerChange {
  double sigma_ratio = 1, kurtosis_change = 0, ks_p = 1;
};

/// Layer by layer, two networks that differ in `first`'s mark; KS on weights in units of their own σ, since σ
/// is looked at by itself.
std::map<std::string, LayerChange> changes_between(const Model& first, const Model& second) {
  std::map<std::string, LayerChange> changes;
  const auto standardised = [](const ModelTensor& tensor, const Description& facts) {
    std::vector<float> values;
    for (const float value : tensor.values)
      values.push_back(static_cast<float>((value - facts.mean) / facts.deviation));
    return sample_of(values);
  };
  for (const ModelTensor& tensor : first.tensors) {
    if (tensor.shape.size() != 4) continue;
    const ModelTensor& other = second.at(tensor.name);
    const Description a = describe(tensor.values), b = describe(other.values);
    if (!(a.deviation > 0 && b.deviation > 0)) continue;
    changes[tensor.name] = {a.deviation / b.deviation, a.kurtosis - b.kurtosis,
                            compare_samples(standardised(tensor, a), standardised(other, b)).p_value};
  }
  return changes;
}

struct FullSize {
  std::string name;
  std::map<std::string, std::vector<LayerChange>> layers;  // by name, one for each pair of networks

  /// The layer whose σ moved most on average over the pairs, as a share, with two standard errors.
  struct SigmaChange {
    std::string layer;
    double mean = 0, uncertainty = 0;
  };
  SigmaChange largest_sigma_change() const {
    SigmaChange largest;
    for (const auto& [layer, pairs] : layers) {
      std::vector<double> changes;
      for (const LayerChange& change : pairs) changes.push_back(std::log(change.sigma_ratio));
      const Moments moments = moments_of(changes);
      if (std::fabs(moments.mean) < std::fabs(largest.mean)) continue;
      largest = {layer, std::expm1(moments.mean), two_standard_errors(changes)};
    }
    return largest;
  }
};

/// As many pairs as other experiments train anyway.
FullSize full_size(ExperimentContext& context, const std::string& name, const std::string& scheme,
                   uint64_t pairs) {
  FullSize result{name, {}};
  for (uint64_t seed = 1; seed <= pairs; ++seed) {
    const Model unmarked = read_model(context.network({.seed = seed}).model);
    // Two unmarked networks of different seeds show what seeds alone do; not in a circle, whose changes
    // cancel.
    const uint64_t other_seed = scheme.empty() ? seed + pairs : seed;
    const Model other = read_model(context.network({.scheme = scheme, .seed = other_seed}).model);
    for (const auto& [layer, change] : changes_between(other, unmarked))
      result.layers[layer].push_back(change);
  }
  return result;
}

Table layer_table(const std::vector<FullSize>& all) {
  std::vector<std::string> header{"layer"};
  for (const FullSize& one : all)
    for (const std::string what : {"σ ratio", "kurtosis", "KS p"}) header.push_back(one.name + ": " + what);
  Table table(header);
  for (const auto& [layer, unused] : all[0].layers) {
    std::vector<std::string> row{layer};
    for (const FullSize& one : all) {
      std::vector<double> ratios, kurtoses;
      double smallest_p = 1;
      for (const LayerChange& change : one.layers.at(layer)) {
        ratios.push_back(change.sigma_ratio);
        kurtoses.push_back(change.kurtosis_change);
        smallest_p = std::min(smallest_p, change.ks_p);
      }
      row.push_back(fmt::format("{:.3f}", moments_of(ratios).mean));
      row.push_back(fmt::format("{:+.2f}", moments_of(kurtoses).mean));
      row.push_back(fmt::format("{:.2g}", smallest_p));
    }
    table.add_row(row);
  }
  return table;
}

Findings run(ExperimentContext& context) {
  PopulationPlan plan;
  plan.networks = context.choose<int64_t>(4, 48, 200);
  plan.steps = context.choose<int64_t>(3, 80, 1000);
  plan.halved = context.preset() != Preset::paper;
  const double recommended = context.settings().strength;
  PopulationPlan wide_plan = plan;
  wide_plan.networks = context.choose<int64_t>(4, 96, 200);
  const std::string small = "wrn-10-1",
                    wide = context.choose<std::string>("wrn-10-1", "wrn-10-2", "wrn-10-4");

  const Population unmarked{.name = "unmarked", .network = small};
  const PopulationResult reference = train_population(context, unmarked, plan);
  PopulationPlan others = plan;
  others.first_seed = 1001;  // no seed is used for two networks of one comparison

  std::vector<Comparison> all;
  const auto add = [&](const PopulationResult& base, const Population& population,
                       uint64_t first_seed = 1001) {
    others.first_seed = first_seed;
    others.networks = static_cast<int64_t>(base.features.size());
    all.push_back(compare(context, base, population, others));
    return all.size() - 1;
  };
  const auto mark = [&](const std::string& network, double strength, int bits,
                        const std::map<std::string, std::string>& more = {}) {
    std::string name = fmt::format("{} bits, z* = {}", bits, strength);
    for (const auto& [option, value] : more) name += fmt::format(", {} {}", option, value);
    return Population{name, network, "deepwater", ours(strength, more), bits};
  };
  const std::map<std::string, std::string> pushed{{"start", "random"}};
  const size_t calibration = add(reference, {.name = "unmarked, other seeds", .network = small}, 2001);
  const size_t main = add(reference, mark(small, recommended, 256));
  const size_t main_pushed = add(reference, mark(small, recommended, 256, pushed));
  const size_t uchida = add(reference, {"Uchida, 64 bits", small, "uchida", {}, 64});
  std::vector<size_t> by_strength, by_strength_pushed, by_size{main}, by_size_pushed{main_pushed};
  if (context.preset() != Preset::smoke) {
    add(reference, mark(small, recommended, 256, {{"match", "skew"}}));
    add(reference, mark(small, recommended, 256, {{"start", "random"}, {"match", "full"}}));
    add(reference, mark(small, recommended, 256, {{"start", "random"}, {"magnitudes", "free"}}));
    for (const double strength : {5.0, 10.0}) {
      by_strength.push_back(add(reference, mark(small, strength, 64)));
      by_strength_pushed.push_back(add(reference, mark(small, strength, 64, pushed)));
    }
    add(reference, mark(small, 10, 64, {{"density", "host"}}));
    by_size.push_back(by_strength.back());
    by_size_pushed.push_back(by_strength_pushed.back());
    const PopulationResult wide_reference =
        train_population(context, {.name = "unmarked", .network = wide}, wide_plan);
    by_size.push_back(add(wide_reference, mark(wide, 10, 64)));
    by_size_pushed.push_back(add(wide_reference, mark(wide, 10, 64, pushed)));
  }

  Findings findings;
  findings.sections.push_back(
      {.title = "An attacker on weight statistics",
       .text = fmt::format(
           "{} networks of each kind ({} of {}), {} steps each, every one with its own seed and key. "
           "The attacker knows the "
           "scheme and its settings but no key, sees log σ, skewness, kurtosis, quantiles "
           "and histograms of every "
           "convolution, and is cross-validated: a regression on all of that, the one feature that tells "
           "most, "
           "or whichever of the two does better on what it learns from (choosing). By default the signs of "
           "the initial weights follow the "
           "target and bits are held to it (match full); start random: weights are pushed into "
           "place instead. The first row compares unmarked networks with unmarked ones.",
           plan.networks, wide_plan.networks, wide, plan.steps),
       .table = attack_table(all),
       .caption =
           "AUC: area under the curve with its 95 % interval, 0.5 is guessing. σ ratio and kurtosis: of the "
           "layer whose mean moved most."});
  if (!by_strength.empty()) {
    const auto strength_of = [](const Comparison& c) {
      return std::stod(c.population.options.values.at("strength"));
    };
    findings.sections.push_back(
        {.title = "Strength",
         .text = "From a random start a stronger mark has to push weights further from where training would "
                 "leave "
                 "them; a marked start has nothing to push.",
         .svg = area_plot(all, "Detection against strength, 64 bits", {.label = "strength z*"},
                          {{"from a marked start", by_strength}, {"from a random start", by_strength_pushed}},
                          strength_of)});
    const auto weights_of = [](const Comparison& c) { return c.result.weights_per_bit; };
    findings.sections.push_back(
        {.title = "Weights per bit",
         .text = "The more weights share a bit, the less each of them has to give.",
         .svg = area_plot(all, "Detection against the size of the network",
                          {.label = "weights per bit", .logarithmic = true},
                          {{"from a marked start", by_size}, {"from a random start", by_size_pushed}},
                          weights_of),
         .caption = fmt::format("256 and 64 bits in {}, 64 bits in {}.", small, wide)});
  }

  std::vector<FullSize> full{full_size(context, "deepwater", "deepwater", context.choose<uint64_t>(1, 12, 3)),
                             full_size(context, "uchida", "uchida", context.choose<uint64_t>(1, 6, 3))};
  if (context.preset() != Preset::smoke)
    full.push_back(full_size(context, "another seed", "", context.choose<uint64_t>(1, 6, 3)));
  findings.sections.push_back({.title = "Layers of the networks of these experiments",
                               .text = "Each marked network against its unmarked twin of the same seed and "
                                       "data; the last columns compare "
                                       "unmarked networks of different seeds.",
                               .table = layer_table(full),
                               .caption = "Means over the pairs (in the quick preset 12 of our mark, 6 of "
                                          "the others); KS p is the smallest p-value of a two-sample "
                                          "Kolmogorov-Smirnov test on weights in "
                                          "units of their own σ. Weights of a trained layer are not "
                                          "independent, so that small values need no "
                                          "mark: see the columns of another seed."});

  const auto goal_for = [&](const std::string& name, const Comparison& c) {
    const AreaUnderCurve area = c.choosing.area;
    findings.goals.push_back(
        {fmt::format("{}: the attacker's area under the curve is at most 0.5 + {}", name, largest_advantage),
         fmt::format("{} ({}, {})", text_of(area), c.population.network, c.choosing.detail),
         area.value <= 0.5 + largest_advantage});
  };
  const auto interval_goal_for = [&](const std::string& name, const Comparison& c) {
    const AreaUnderCurve area = c.choosing.area;
    findings.goals.push_back({name + ": 0.5, guessing, lies in the attacker's interval", text_of(area),
                              area.low <= 0.5 && 0.5 <= area.high});
  };
  goal_for("the mark as other experiments embed it", all[main]);
  interval_goal_for("the mark as other experiments embed it", all[main]);
  if (by_size.size() > 1) {
    goal_for("64 bits in a wider network", all[by_size.back()]);
    interval_goal_for("64 bits in a wider network", all[by_size.back()]);
  }
  const AreaUnderCurve null_area = all[calibration].choosing.area;
  findings.goals.push_back({"the attacker finds nothing where there is nothing: 0.5 lies in its interval",
                            text_of(null_area), null_area.low <= 0.5 && 0.5 <= null_area.high});
  const double our_area = all[main].choosing.area.value, their_area = all[uchida].choosing.area.value;
  findings.goals.push_back({"our mark is no easier to detect than Uchida's",
                            fmt::format("{:.2f} against {:.2f}", our_area, their_area),
                            our_area <= their_area});
  const FullSize::SigmaChange change = full[0].largest_sigma_change();
  findings.goals.push_back(
      {"σ of every layer stays within 1 % of the unmarked network's, or within two standard errors of that",
       fmt::format("{:+.1f} % (two standard errors {:.1f}) in the layer that moved most, {}; Uchida's mark: "
                   "{:+.1f} %",
                   100 * change.mean, 100 * change.uncertainty, change.layer,
                   100 * full[1].largest_sigma_change().mean),
       std::fabs(change.mean) - change.uncertainty <= largest_sigma_change});
  return findings;
}

}  // namespace

Experiment detectability_experiment() {
  return {
      "detectability", "Can a stranger see the mark?",
      "Do a layer's spread and tails change, and can an attacker without the key tell marked networks from "
      "unmarked ones by their weights?",
      run};
}

}  // namespace dw
