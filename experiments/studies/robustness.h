// What the robustness experiments share: an attack on the networks of several seeds, its table row, its
// verdict.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/experiment.h"

namespace dw {

/// One attack on one scheme's networks, over seeds.
struct Outcome {
  std::vector<double> accuracy;    ///< %
  std::vector<double> error_rate;  ///< %
  int runs = 0;
  int destroyed = 0;  ///< runs whose training no longer gave finite numbers: nothing is left to steal
  int bits = 0;
  int worst_errors = 0;
  int errors = 0, erased = 0;  ///< of all runs; what is erased is an error too
  double weakest_log2_p = -1e9;

  /// `right`: the share of test pictures, 0 to 1.
  void add(double right, const MarkReading& reading);
  void add(const Json& cell);  ///< of ExperimentContext::attacked
  double mean_accuracy() const;
  double mean_error_rate() const;
};

/// The attack on the network of `request`, and its mark read as it is and realigned to the owner's copy. A
/// cell: {"accuracy", "direct", "realigned"}, the last two {"bits", "errors", "erased", "log2_p"}. Without
/// "direct" where the attack added channels, so that no layer has the mark's shape.
Json attacked_and_realigned(ExperimentContext& context, const NetworkRequest& request,
                            const std::string& attack, uint64_t seed);

/// The attack on the networks of seeds 1 .. `seeds`, otherwise as `request`; the seed is the attack's too.
/// `realigned`: read after realignment to the owner's copy.
Outcome attack_networks(ExperimentContext& context, NetworkRequest request, const std::string& attack,
                        uint64_t seeds, bool realigned = false);

/// A scheme as a column: its name in the table, and how its networks are asked for.
struct Contender {
  std::string name;
  NetworkRequest request;
  uint64_t seeds = 1;
};
/// Ours and Uchida's with random X, one block, lambda 0.01.
std::vector<Contender> ours_and_uchida(uint64_t seeds);

struct AttackRow {
  std::string label;
  std::string attack;
  std::string known = {};  ///< of Uchida's scheme, elsewhere
  bool realigned = false;  ///< read after realignment to the owner's copy
};

/// Every attack on every contender: outcomes[row][contender] and their table.
struct RobustnessGrid {
  std::vector<AttackRow> rows;
  std::vector<Contender> contenders;
  std::vector<std::vector<Outcome>> outcomes;

  const Outcome& at(const std::string& attack, size_t contender) const;
  Table table() const;
};
RobustnessGrid run_grid(ExperimentContext& context, std::vector<AttackRow> rows,
                        std::vector<Contender> contenders);

/// No bit wrong in any of these; states the worst.
Goal no_errors_goal(const std::string& statement, const std::vector<Outcome>& outcomes);
/// p at most 2^log2_p in all of these.
Goal proof_goal(const std::string& statement, const std::vector<Outcome>& outcomes, double log2_p);
/// Mean bit error rates of both, %, on the seeds that both have; nothing where either has no network left.
std::optional<std::pair<double, double>> paired_error_rates(const Outcome& ours, const Outcome& theirs);
/// The first contender's error rate is not above (or, where `strictly`, below) the second's in each row,
/// paired.
Goal not_worse_goal(const std::string& statement, const RobustnessGrid& grid, bool strictly = false);

inline constexpr const char* uchida_source =
    "Known of Uchida's scheme with random X (published up to 65 % pruned, arXiv 1701.04082; beyond, not from "
    "its "
    "paper), on WRN-10-4 and CIFAR-10.";

}  // namespace dw
