#include "watermark/detectability.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "watermark/samples.h"
#include "watermark/statistics.h"

namespace dw {
namespace {

constexpr double two_sided_95 = 1.959963984540054;

/// How often a negative lies below `score`, equal ones counting half. `sorted` is ascending.
double share_below(std::span<const double> sorted, double score) {
  const auto from = std::lower_bound(sorted.begin(), sorted.end(), score);
  const auto to = std::upper_bound(from, sorted.end(), score);
  return (static_cast<double>(from - sorted.begin()) + 0.5 * static_cast<double>(to - from)) /
         static_cast<double>(sorted.size());
}

/// DeLong's interval from how each positive is placed among negatives (0 to 1, 1: above all) and each
/// negative among positives (1: below all).
AreaUnderCurve area_of_placements(std::span<const double> positives, std::span<const double> negatives) {
  const Moments above = moments_of(positives), below = moments_of(negatives);
  const auto variance = [](const Moments& placements, size_t count) {
    return placements.deviation * placements.deviation / static_cast<double>(count);
  };
  const double error = std::sqrt(variance(above, positives.size()) + variance(below, negatives.size()));
  return {above.mean, std::max(0.0, above.mean - two_sided_95 * error),
          std::min(1.0, above.mean + two_sided_95 * error)};
}

std::vector<double> sorted(std::span<const double> values) {
  std::vector<double> result(values.begin(), values.end());
  std::sort(result.begin(), result.end());
  return result;
}

// Features of one set of weights, all but log σ in units of their own spread.
void add_features(WeightFeatures& features, const std::string& name, std::span<const float> weights) {
  const Description facts = describe(weights);
  require(facts.not_finite == 0, "{}: {} of {} weights are not finite", name, facts.not_finite, facts.count);
  const double unit = facts.deviation > 0 ? facts.deviation : 1;
  const auto add = [&](const std::string& what, double value) {
    features.names.push_back(name + " " + what);
    features.values.push_back(value);
  };
  add("log σ", std::log(unit));
  add("mean / σ", facts.mean / unit);
  add("skewness", facts.skewness);
  add("kurtosis", facts.kurtosis);
  std::vector<float> magnitudes(weights.size());
  std::transform(weights.begin(), weights.end(), magnitudes.begin(),
                 [&](float weight) { return static_cast<float>(std::fabs(weight - facts.mean) / unit); });
  std::sort(magnitudes.begin(), magnitudes.end());
  for (const double share : {0.05, 0.25, 0.5, 0.75, 0.9, 0.99}) {
    const double place = share * static_cast<double>(magnitudes.size());
    add(fmt::format("{} % quantile of |z|", 100 * share),
        magnitudes[std::min(magnitudes.size() - 1, static_cast<size_t>(place))]);
  }
  constexpr int bins = 12;
  constexpr double reach = 3;
  std::array<double, bins> histogram{};
  for (const float weight : weights) {
    const double place = ((weight - facts.mean) / unit + reach) / (2 * reach) * bins;
    histogram[static_cast<size_t>(std::clamp(place, 0.0, bins - 1.0))] += 1;
  }
  for (int i = 0; i < bins; ++i)
    add(fmt::format("share of z in bin {} of {}", i + 1, bins),
        histogram[static_cast<size_t>(i)] / static_cast<double>(weights.size()));
}

using Rows = std::vector<size_t>;

Rows everyone(size_t count) {
  Rows rows(count);
  std::iota(rows.begin(), rows.end(), size_t{0});
  return rows;
}

/// `rows` dealt into folds at random, each with its share of both classes.
std::vector<Rows> deal(const Rows& rows, const std::vector<bool>& marked, int folds, const PhiloxKey& key) {
  std::vector<Rows> dealt(static_cast<size_t>(folds));
  for (const bool kind : {false, true}) {
    Rows members;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(members),
                 [&](size_t row) { return marked[row] == kind; });
    std::sort(members.begin(), members.end(), [&](size_t a, size_t b) {
      return std::pair(philox(key, a).word[0], a) < std::pair(philox(key, b).word[0], b);
    });
    for (size_t i = 0; i < members.size(); ++i) dealt[i % dealt.size()].push_back(members[i]);
  }
  return dealt;
}

Rows all_but(const std::vector<Rows>& folds, size_t left_out) {
  Rows rows;
  for (size_t f = 0; f < folds.size(); ++f)
    if (f != left_out) rows.insert(rows.end(), folds[f].begin(), folds[f].end());
  return rows;
}

/// Features with mean 0 and deviation 1 over the rows that may be learnt from; all zero where they do not
/// vary.
std::vector<std::vector<double>> standardised(const std::vector<std::vector<double>>& features,
                                              const Rows& learnt) {
  std::vector<std::vector<double>> result = features;
  for (size_t f = 0; f < features[0].size(); ++f) {
    std::vector<double> column;
    for (const size_t row : learnt) column.push_back(features[row][f]);
    const Moments moments = moments_of(column);
    for (std::vector<double>& row : result)
      row[f] = moments.deviation > 1e-12 * std::fabs(moments.mean)
                   ? (row[f] - moments.mean) / moments.deviation
                   : 0;
  }
  return result;
}

/// Inner products of all rows, plus 1 for the intercept, over the number of features.
std::vector<std::vector<double>> products_of(const std::vector<std::vector<double>>& rows) {
  const size_t n = rows.size();
  const auto scale = static_cast<double>(rows[0].size());
  std::vector<std::vector<double>> products(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j <= i; ++j)
      products[i][j] = products[j][i] =
          std::inner_product(rows[i].begin(), rows[i].end(), rows[j].begin(), 0.0) / scale + 1;
  return products;
}

/// Solves the symmetric positive definite system by Cholesky's factors.
std::vector<double> solve(std::vector<std::vector<double>> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = a[i][j];
      for (size_t k = 0; k < j; ++k) sum -= a[i][k] * a[j][k];
      a[i][j] = i == j ? std::sqrt(std::max(sum, 1e-12)) : sum / a[j][j];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) b[i] -= a[k][i] * b[k];
    b[i] /= a[i][i];
  }
  return b;
}

/// Penalised logistic regression in the space of its examples: there are fewer networks than features.
/// Newton's steps solve (K + penalty / W) α = K α + (y - p) / W. Returns the score of every row.
std::vector<double> regression_scores(const std::vector<std::vector<double>>& products,
                                      const std::vector<bool>& marked, const Rows& learnt, double penalty) {
  const size_t n = learnt.size();
  std::vector<double> alpha(n, 0), scores(n, 0);
  for (int step = 0; step < 30; ++step) {
    std::vector<std::vector<double>> system(n, std::vector<double>(n));
    std::vector<double> right(n);
    for (size_t i = 0; i < n; ++i) {
      const double p = 1 / (1 + std::exp(-scores[i]));
      const double weight = std::max(p * (1 - p), 1e-6);
      for (size_t j = 0; j < n; ++j) system[i][j] = products[learnt[i]][learnt[j]];
      system[i][i] += penalty / weight;
      right[i] = scores[i] + ((marked[learnt[i]] ? 1 : 0) - p) / weight;
    }
    const std::vector<double> next = solve(std::move(system), std::move(right));
    double change = 0;
    for (size_t i = 0; i < n; ++i) change = std::max(change, std::fabs(next[i] - alpha[i]));
    alpha = next;
    for (size_t i = 0; i < n; ++i) {
      scores[i] = 0;
      for (size_t j = 0; j < n; ++j) scores[i] += products[learnt[i]][learnt[j]] * alpha[j];
    }
    if (change < 1e-6) break;
  }
  std::vector<double> all(products.size(), 0);
  for (size_t row = 0; row < products.size(); ++row)
    for (size_t j = 0; j < n; ++j) all[row] += products[row][learnt[j]] * alpha[j];
  return all;
}

/// Mean area of the folds' own comparisons.
double area_within(const std::vector<double>& scores, const std::vector<bool>& marked, const Rows& rows) {
  std::vector<double> positives, negatives;
  for (const size_t row : rows) (marked[row] ? positives : negatives).push_back(scores[row]);
  if (positives.empty() || negatives.empty()) return 0.5;
  return area_under_curve(positives, negatives).value;
}

/// Scores all rows after learning the labels of some.
using Learner = std::function<std::vector<double>(const std::vector<bool>& marked, const Rows& learnt,
                                                  uint32_t repetition)>;

Attacker cross_validated(const std::vector<bool>& marked, const AttackerOptions& options,
                         const Learner& learner) {
  const size_t count = marked.size();
  const Rows all = everyone(count);
  Attacker attacker;
  attacker.score.assign(count, 0);
  std::vector<double> placements(count, 0);
  for (int repetition = 0; repetition < options.repetitions; ++repetition) {
    const auto number = static_cast<uint32_t>(repetition);
    const std::vector<Rows> folds = deal(all, marked, options.folds, {options.seed, 0x666f6c64, number});
    for (size_t f = 0; f < folds.size(); ++f) {
      const std::vector<double> scores = learner(marked, all_but(folds, f), number);
      std::vector<double> of_marked, of_others;
      for (const size_t row : folds[f]) (marked[row] ? of_marked : of_others).push_back(scores[row]);
      of_marked = sorted(of_marked), of_others = sorted(of_others);
      for (const size_t row : folds[f]) {
        attacker.score[row] += scores[row] / options.repetitions;
        placements[row] +=
            (marked[row] ? share_below(of_others, scores[row]) : 1 - share_below(of_marked, scores[row])) /
            options.repetitions;
      }
    }
  }
  std::vector<double> above, below;
  for (size_t row = 0; row < count; ++row) (marked[row] ? above : below).push_back(placements[row]);
  attacker.area = area_of_placements(above, below);
  return attacker;
}

void check(const LabelledNetworks& networks, const AttackerOptions& options) {
  const size_t count = networks.features.size();
  require(count > 0 && networks.marked.size() == count, "attacker: {} rows of features, {} labels", count,
          networks.marked.size());
  for (const std::vector<double>& row : networks.features)
    require(row.size() == networks.features[0].size() && !row.empty(), "attacker: rows of {} and {} features",
            networks.features[0].size(), row.size());
  const auto positives = std::count(networks.marked.begin(), networks.marked.end(), true);
  require(options.folds >= 2 && options.repetitions >= 1 && options.null_draws >= 0 &&
              positives >= options.folds && static_cast<int64_t>(count) - positives >= options.folds,
          "attacker: {} marked of {} networks are too few for {} folds", positives, count, options.folds);
}

/// The attacker on the networks as they are, its interval widened by what it makes of random labels.
Attacker attack(const LabelledNetworks& networks, const AttackerOptions& options, const Learner& learner) {
  Attacker attacker = cross_validated(networks.marked, options, learner);
  std::vector<double> areas(static_cast<size_t>(options.null_draws));
#pragma omp parallel for schedule(dynamic)
  for (size_t draw = 0; draw < areas.size(); ++draw) {
    const PhiloxKey key{options.seed, 0x6c61626c, static_cast<uint32_t>(draw)};
    Rows order = everyone(networks.marked.size());
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::pair(philox(key, a).word[0], a) < std::pair(philox(key, b).word[0], b);
    });
    std::vector<bool> shuffled(order.size());
    for (size_t i = 0; i < order.size(); ++i) shuffled[i] = networks.marked[order[i]];
    areas[draw] = cross_validated(shuffled, options, learner).area.value;
  }
  attacker.null_deviation = moments_of(areas).deviation;
  AreaUnderCurve& area = attacker.area;
  area.low = std::min(area.low, std::max(0.0, area.value - two_sided_95 * attacker.null_deviation));
  area.high = std::max(area.high, std::min(1.0, area.value + two_sided_95 * attacker.null_deviation));
  return attacker;
}

constexpr int inner_folds = 4;

Learner regression_learner(const LabelledNetworks& networks, const AttackerOptions& options) {
  return [&networks, seed = options.seed](const std::vector<bool>& marked, const Rows& learnt,
                                          uint32_t repetition) {
    const std::vector<std::vector<double>> products = products_of(standardised(networks.features, learnt));
    double best_penalty = 1, best_area = -1;
    const std::vector<Rows> folds = deal(learnt, marked, inner_folds, {seed, 0x696e6e72, repetition});
    for (const double penalty : {1.0, 0.1, 0.01}) {
      double area = 0;
      for (size_t f = 0; f < folds.size(); ++f)
        area +=
            area_within(regression_scores(products, marked, all_but(folds, f), penalty), marked, folds[f]);
      if (area > best_area + 1e-9) best_area = area, best_penalty = penalty;
    }
    return regression_scores(products, marked, learnt, best_penalty);
  };
}

struct TellingFeature {
  size_t feature = 0;
  double area = 0.5;
};

TellingFeature telling_feature(const LabelledNetworks& networks, const std::vector<bool>& marked,
                               const Rows& learnt) {
  TellingFeature best;
  std::vector<double> column(networks.features.size());
  for (size_t f = 0; f < networks.features[0].size(); ++f) {
    for (const size_t row : learnt) column[row] = networks.features[row][f];
    const double area = area_within(column, marked, learnt);
    if (std::fabs(area - 0.5) > std::fabs(best.area - 0.5)) best = {f, area};
  }
  return best;
}

Learner threshold_learner(const LabelledNetworks& networks) {
  return [&networks](const std::vector<bool>& marked, const Rows& learnt, uint32_t) {
    const TellingFeature best = telling_feature(networks, marked, learnt);
    std::vector<double> scores;
    for (const std::vector<double>& row : networks.features)
      scores.push_back((best.area > 0.5 ? 1 : -1) * row[best.feature]);
    return scores;
  };
}

void check_names(const LabelledNetworks& networks, std::span<const std::string> names) {
  require(names.size() == networks.features[0].size(), "attacker: {} names for {} features", names.size(),
          networks.features[0].size());
}

}  // namespace

AreaUnderCurve area_under_curve(std::span<const double> positives, std::span<const double> negatives) {
  require(!positives.empty() && !negatives.empty(), "area under the curve: {} positives and {} negatives",
          positives.size(), negatives.size());
  const std::vector<double> high = sorted(positives), low = sorted(negatives);
  std::vector<double> above, below;
  for (const double score : positives) above.push_back(share_below(low, score));
  for (const double score : negatives) below.push_back(1 - share_below(high, score));
  return area_of_placements(above, below);
}

WeightFeatures weight_features(const Model& model) {
  WeightFeatures features;
  std::vector<float> pooled;
  for (const ModelTensor& tensor : model.tensors) {
    if (tensor.shape.size() != 4 || tensor.values.empty()) continue;
    add_features(features, tensor.name, tensor.values);
    const double unit = describe(tensor.values).deviation;
    for (const float value : tensor.values) pooled.push_back(unit > 0 ? static_cast<float>(value / unit) : 0);
  }
  require(!pooled.empty(), "this network has no convolution whose weights could be looked at");
  add_features(features, "all", pooled);
  return features;
}

Attacker logistic_attacker(const LabelledNetworks& networks, const AttackerOptions& options) {
  check(networks, options);
  Attacker attacker = attack(networks, options, regression_learner(networks, options));
  attacker.detail = fmt::format("logistic regression on {} features", networks.features[0].size());
  return attacker;
}

Attacker threshold_attacker(const LabelledNetworks& networks, std::span<const std::string> names,
                            const AttackerOptions& options) {
  check(networks, options);
  check_names(networks, names);
  Attacker attacker = attack(networks, options, threshold_learner(networks));
  attacker.detail = fmt::format(
      "threshold on one feature; of all networks \"{}\" tells most",
      names[telling_feature(networks, networks.marked, everyone(networks.marked.size())).feature]);
  return attacker;
}

Attacker choosing_attacker(const LabelledNetworks& networks, std::span<const std::string> names,
                           const AttackerOptions& options) {
  check(networks, options);
  check_names(networks, names);
  const std::array<Learner, 2> learners{regression_learner(networks, options), threshold_learner(networks)};
  const auto choose = [&](const std::vector<bool>& marked, const Rows& learnt, uint32_t repetition) {
    const std::vector<Rows> folds = deal(learnt, marked, inner_folds, {options.seed, 0x63686f73, repetition});
    std::array<double, 2> areas{};
    for (size_t i = 0; i < learners.size(); ++i)
      for (size_t f = 0; f < folds.size(); ++f)
        areas[i] += area_within(learners[i](marked, all_but(folds, f), repetition), marked, folds[f]);
    return areas[0] >= areas[1] ? size_t{0} : size_t{1};
  };
  Attacker attacker = attack(
      networks, options, [&](const std::vector<bool>& marked, const Rows& learnt, uint32_t repetition) {
        return learners[choose(marked, learnt, repetition)](marked, learnt, repetition);
      });
  const Rows all = everyone(networks.marked.size());
  attacker.detail = choose(networks.marked, all, 0) == 0
                        ? fmt::format("logistic regression on {} features", names.size())
                        : fmt::format("threshold on \"{}\"",
                                      names[telling_feature(networks, networks.marked, all).feature]);
  return attacker;
}

}  // namespace dw
