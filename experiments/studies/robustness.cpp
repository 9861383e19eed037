#include "experiments/studies/robustness.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/studies/summary.h"
#include "watermark/realignment.h"

namespace dw {
namespace {

MarkReading charged(MarkReading reading, double alternatives) {
  reading.log2_p = std::min(0.0, reading.log2_p + std::log2(alternatives));
  return reading;
}

}  // namespace

void Outcome::add(const Json& cell) {
  add(cell.at("accuracy").get<double>(), reading_from(cell));
}

void Outcome::add(double right, const MarkReading& reading) {
  ++runs;
  bits = reading.bits;
  accuracy.push_back(100 * right);
  error_rate.push_back(100.0 * reading.errors / bits);
  worst_errors = std::max(worst_errors, reading.errors);
  errors += reading.errors;
  erased += reading.erased;
  weakest_log2_p = std::max(weakest_log2_p, reading.log2_p);
}

double Outcome::mean_accuracy() const {
  return moments_of(accuracy).mean;
}
double Outcome::mean_error_rate() const {
  return moments_of(error_rate).mean;
}

Json attacked_and_realigned(ExperimentContext& context, const NetworkRequest& request,
                            const std::string& attack, uint64_t seed) {
  const std::string name =
      fmt::format("{} after {}, realigned, attack seed {}", describe(request), attack, seed);
  return context.cell(name, [&]() -> Json {
    const TrainedFile file = context.network(request);
    const Model original = read_model(file.model);
    AttackContext thief;
    thief.task = &context.task();
    thief.device = context.device();
    thief.seed = seed + 1000 * (context.seed() - 1);
    const Model suspect = apply_attacks(parse_attacks(attack), {original, thief.task}, thief).model;
    const Realignment aligned = realign(suspect, original);
    Json result = {{"accuracy", evaluate_model(suspect, *thief.task, thief.device).accuracy},
                   {"realigned", json_of(charged(read_mark(aligned.model, file), aligned.alternatives))}};
    if (!suspect.metadata.contains("shapes")) result["direct"] = json_of(read_mark(suspect, file));
    return result;
  });
}

Outcome attack_networks(ExperimentContext& context, NetworkRequest request, const std::string& attack,
                        uint64_t seeds, bool realigned) {
  Outcome outcome;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    request.seed = seed;
    try {
      if (realigned) {
        const Json cell = attacked_and_realigned(context, request, attack, seed);
        outcome.add(cell["accuracy"].get<double>(), reading_from(cell["realigned"]));
      } else {
        outcome.add(context.attacked(request, attack, seed));
      }
    } catch (const UsageError&) {
      throw;
    } catch (const Error& error) {
      // The trainer's word for numbers that ran away: the thief has destroyed what was stolen.
      if (std::string_view(error.what()).find("training stopped") == std::string_view::npos) throw;
      ++outcome.runs;
      ++outcome.destroyed;
    }
  }
  return outcome;
}

std::vector<Contender> ours_and_uchida(uint64_t seeds) {
  return {{"deepwater", {.scheme = "deepwater"}, seeds}, {"uchida", {.scheme = "uchida"}, seeds}};
}

RobustnessGrid run_grid(ExperimentContext& context, std::vector<AttackRow> rows,
                        std::vector<Contender> contenders) {
  RobustnessGrid grid{std::move(rows), std::move(contenders), {}};
  for (const AttackRow& row : grid.rows) {
    std::vector<Outcome>& outcomes = grid.outcomes.emplace_back();
    for (const Contender& contender : grid.contenders)
      outcomes.push_back(
          attack_networks(context, contender.request, row.attack, contender.seeds, row.realigned));
  }
  return grid;
}

const Outcome& RobustnessGrid::at(const std::string& attack, size_t contender) const {
  const auto row = std::ranges::find(rows, attack, &AttackRow::attack);
  require(row != rows.end(), "attack {} was not run", attack);
  return outcomes[static_cast<size_t>(row - rows.begin())][contender];
}

Table RobustnessGrid::table() const {
  const bool any_known = std::ranges::any_of(rows, [](const AttackRow& row) { return !row.known.empty(); });
  std::vector<std::string> header{"attack"};
  for (const Contender& contender : contenders)
    for (const char* const column : {"accuracy %", "bit errors %", "log₂ p"})
      header.push_back(contender.name + " " + column);
  if (any_known) header.emplace_back("uchida elsewhere");
  Table result(header);
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<std::string> cells{rows[r].label};
    for (const Outcome& outcome : outcomes[r]) {
      if (outcome.accuracy.empty()) {
        cells.insert(cells.end(), {"destroyed", "-", "-"});
        continue;
      }
      const std::string lost =
          outcome.destroyed == 0 ? "" : fmt::format(" ({} of {} destroyed)", outcome.destroyed, outcome.runs);
      cells.push_back(spread(outcome.accuracy) + lost);
      cells.push_back(spread(outcome.error_rate));
      cells.push_back(fmt::format("{:.0f}", outcome.weakest_log2_p));
    }
    if (any_known) cells.push_back(rows[r].known);
    result.add_row(std::move(cells));
  }
  return result;
}

Goal no_errors_goal(const std::string& statement, const std::vector<Outcome>& outcomes) {
  int readings = 0, worst = 0, bits = 0;
  for (const Outcome& outcome : outcomes) {
    readings += static_cast<int>(outcome.accuracy.size());
    worst = std::max(worst, outcome.worst_errors);
    bits = std::max(bits, outcome.bits);
  }
  return {statement, fmt::format("at most {} of {} bits wrong in {} readings", worst, bits, readings),
          readings > 0 && worst == 0};
}

Goal proof_goal(const std::string& statement, const std::vector<Outcome>& outcomes, double log2_p) {
  int readings = 0;
  double weakest = -1e9;
  for (const Outcome& outcome : outcomes) {
    readings += static_cast<int>(outcome.accuracy.size());
    weakest = std::max(weakest, outcome.weakest_log2_p);
  }
  return {statement, fmt::format("weakest p = 2^{:.0f} in {} readings", weakest, readings),
          readings > 0 && weakest <= log2_p};
}

std::optional<std::pair<double, double>> paired_error_rates(const Outcome& ours, const Outcome& theirs) {
  const size_t seeds = std::min(ours.error_rate.size(), theirs.error_rate.size());
  if (seeds == 0) return std::nullopt;
  const auto mean = [&](const Outcome& outcome) {
    return moments_of(std::span(outcome.error_rate).first(seeds)).mean;
  };
  return std::pair(mean(ours), mean(theirs));
}

Goal not_worse_goal(const std::string& statement, const RobustnessGrid& grid, bool strictly) {
  std::vector<std::string> misses;
  size_t compared = 0;
  for (size_t r = 0; r < grid.rows.size(); ++r) {
    const auto rates = paired_error_rates(grid.outcomes[r].at(0), grid.outcomes[r].at(1));
    if (!rates) continue;
    ++compared;
    const auto [ours, theirs] = *rates;
    if (strictly ? ours >= theirs : ours > theirs)
      misses.push_back(fmt::format("{} ({:.2f} against {:.2f} %)", grid.rows[r].label, ours, theirs));
  }
  return {statement,
          misses.empty()
              ? fmt::format("so in all {} attacks", compared)
              : fmt::format("not so in {} of {}: {}", misses.size(), compared, fmt::join(misses, ", ")),
          compared > 0 && misses.empty()};
}

}  // namespace dw
