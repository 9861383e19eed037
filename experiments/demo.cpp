#include "experiments/demo.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "experiments/progress.h"
#include "watermark/pruning.h"

namespace dw {
namespace {

constexpr double most_pruned_judged = 0.95;

std::filesystem::path key_in(const std::filesystem::path& folder, const std::string& name,
                             const std::string& owner) {
  std::filesystem::path path = folder / (name + ".key");
  if (!std::filesystem::exists(path)) save_key_and_claim(generate_key(owner), path);
  return path;
}

TrainedNetwork train_twin(const Dataset& data, const DemoPlan& plan, const std::string& name,
                          const std::filesystem::path& key) {
  TrainingRequest request;
  request.network = plan.network;
  request.recipe = plan.recipe;
  request.seed = plan.seed;
  request.device = plan.device;
  request.out = plan.out / name / "model.safetensors";
  request.key = key;
  request.scheme_options.values["strength"] = fmt::format("{}", plan.strength);
  TrainedNetwork trained = run_training(data, request, "training the " + name + " network");
  require(trained.result.finished, "interrupted: the demo is not complete");
  return trained;
}

// Someone else says the same of the same network: a claim of their own, with a signed mark entry.
void claim_for_stranger(const std::filesystem::path& key_path, const Mark& mark) {
  const OwnerKey key = load_key(key_path);
  Claim claim = load_claim(claim_path_for(key_path));
  Mark copied = mark;
  copied.bits = key.statement.bits;
  if (add_mark(claim, key, copied)) save_claim(claim, claim_path_for(key_path));
}

}  // namespace

bool DemoResult::succeeded() const {
  return std::all_of(verdicts.begin(), verdicts.end(), [](const DemoVerdict& row) {
    return !row.judged || row.verdict.owned == row.expected_owned;
  });
}

DemoResult run_demo(const DemoPlan& plan) {
  const auto started = std::chrono::steady_clock::now();
  DemoResult result;
  result.plan = plan;
  std::filesystem::create_directories(plan.out);
  result.data = load_with_progress(plan.data, plan.load);
  const std::filesystem::path owner = key_in(plan.out, "owner", "Demo Owner");
  const std::filesystem::path stranger = key_in(plan.out, "stranger", "A Stranger");

  TrainedNetwork marked = train_twin(result.data, plan, "marked", owner);
  result.mark = *marked.mark;
  result.marked = marked.result.epochs;
  result.unmarked = train_twin(result.data, plan, "unmarked", {}).result.epochs;
  claim_for_stranger(stranger, result.mark);

  Progress bar("pruning and verifying", plan.fractions.size() + 2, "models");
  const auto judge = [&](std::string suspect, const std::filesystem::path& model, double pruned,
                         const std::string& claimant, bool expected) {
    const std::filesystem::path& key = claimant == "owner" ? owner : stranger;
    DemoVerdict row;
    row.suspect = std::move(suspect);
    row.claimant = claimant;
    row.pruned = pruned;
    row.expected_owned = expected;
    row.judged = pruned <= most_pruned_judged;
    row.verdict = verify(load_claim(claim_path_for(key)), load_key(key), SafetensorsFile::open(model),
                         {.null_keys = plan.null_keys, .seed = plan.seed});
    row.evaluation = evaluate_model(load_model(model, plan.device), result.data.test, plan.device);
    result.verdicts.push_back(std::move(row));
    bar.advance();
  };

  const std::filesystem::path model = plan.out / "marked" / "model.safetensors";
  for (const double fraction : plan.fractions) {
    if (fraction == 0) {
      judge("marked", model, 0, "owner", true);
      continue;
    }
    const std::filesystem::path pruned =
        plan.out / "marked" / fmt::format("pruned-{:g}.safetensors", 100 * fraction);
    prune_model(model, pruned, fraction, PruningScope::layer);
    judge(fmt::format("marked, {:g} % pruned", 100 * fraction), pruned, fraction, "owner", true);
  }
  judge("marked", model, 0, "stranger", false);
  judge("unmarked", plan.out / "unmarked" / "model.safetensors", 0, "owner", false);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return result;
}

std::string to_json(const DemoResult& result) {
  nlohmann::ordered_json json = {{"succeeded", result.succeeded()},
                                 {"data", result.data.name},
                                 {"network", result.plan.network},
                                 {"strength", result.mark.strength},
                                 {"amplitude", result.mark.amplitude},
                                 {"bits", result.mark.bits},
                                 {"seed", result.plan.seed},
                                 {"marked_accuracy", result.marked_accuracy()},
                                 {"unmarked_accuracy", result.unmarked_accuracy()},
                                 {"seconds", result.seconds},
                                 {"verdicts", nlohmann::ordered_json::array()}};
  for (const DemoVerdict& row : result.verdicts) {
    json["verdicts"].push_back({{"suspect", row.suspect},
                                {"claimant", row.claimant},
                                {"pruned", row.pruned},
                                {"verdict", row.verdict.verdict()},
                                {"expected", row.expected_owned ? "OWNED" : "NOT PROVEN"},
                                {"judged", row.judged},
                                {"accuracy", row.evaluation.accuracy},
                                {"matches", row.verdict.matches.matches},
                                {"ber", row.verdict.bit_error_rate},
                                {"log2_p", row.verdict.log2_p},
                                {"null_matches_mean", row.verdict.null_matches_mean},
                                {"null_uniform_p", row.verdict.null_uniform_p}});
  }
  return json.dump(2);
}

}  // namespace dw
