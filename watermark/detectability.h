// Can a stranger without the key tell marked networks from unmarked ones? A property-inference attacker
// trains many small networks of both kinds and learns a classifier on statistics of their weights; here are
// the statistics, two classifiers and what their success is worth.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "watermark/model.h"

namespace dw {

/// Area under the receiver operating characteristic, with its 95 % interval: the chance that a positive
/// scores above a negative, equal scores counting half.
struct AreaUnderCurve {
  double value = 0.5;
  double low = 0, high = 1;
};

/// By the definition's pairs, sorted; the interval by DeLong, DeLong & Clarke-Pearson (1988), within [0, 1].
/// Error: an empty class.
AreaUnderCurve area_under_curve(std::span<const double> positives, std::span<const double> negatives);

/// What the attacker looks at in one network: for every weight tensor of rank 4 log σ, mean / σ, skewness,
/// kurtosis, quantiles and a histogram of the standardised weights, and all of it once more over the tensors
/// pooled. Networks of one architecture give equally many, in one order.
struct WeightFeatures {
  std::vector<std::string> names;  ///< "block1.layer.0.conv1.weight log σ"
  std::vector<double> values;      ///< finite
};
/// Error: no tensor of rank 4, weights that are not finite.
WeightFeatures weight_features(const Model& model);

/// Networks as rows of features, equally many in each, with what the attacker wants to know of them.
struct LabelledNetworks {
  std::vector<std::vector<double>> features;
  std::vector<bool> marked;
};

struct Attacker {
  /// Its interval is the wider of DeLong's and of what the area does where labels are drawn at random:
  /// DeLong's alone knows nothing of how the luck of learning differs from one set of networks to the next.
  AreaUnderCurve area;
  double null_deviation = 0;  ///< of the area over random labels
  std::string detail;         ///< what it looked at, in words
  std::vector<double> score;  ///< of each network, unseen while learning; averaged over repetitions
};

struct AttackerOptions {
  int folds = 5;        ///< of cross-validation, both classes in each
  int repetitions = 5;  ///< over different folds
  int null_draws = 50;  ///< of random labels
  uint64_t seed = 1;    ///< of folds and labels
};

/// Logistic regression with a squared penalty on standardised features; its strength is chosen inside the
/// training folds. Only networks of one fold are compared with each other, which leaves 0.5 unbiased where
/// there is nothing to see; the interval is DeLong's on the mean placements. Error: rows of different
/// lengths, classes smaller than `folds`.
Attacker logistic_attacker(const LabelledNetworks& networks, const AttackerOptions& options = {});

/// The one feature that separates the training folds best, and its direction. `names` as of WeightFeatures.
Attacker threshold_attacker(const LabelledNetworks& networks, std::span<const std::string> names,
                            const AttackerOptions& options = {});

/// Whichever of the two does better inside the training folds. Its area is what an attacker with both can
/// expect; the larger of their two areas, picked afterwards, would be above one half by luck alone.
Attacker choosing_attacker(const LabelledNetworks& networks, std::span<const std::string> names,
                           const AttackerOptions& options = {});

}  // namespace dw
