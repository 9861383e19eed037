#include "watermark/verifier.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>

#include "kernels/error.h"

namespace dw {
namespace {

constexpr int maximum_null_keys = 1'000'000;
/// Below this the null keys contradict the binomial so clearly that no p-value may be trusted.
constexpr double null_alarm = 1e-6;

void check_options(const VerifyOptions& options) {
  if (options.null_keys < 0 || options.null_keys > maximum_null_keys)
    throw UsageError(fmt::format("{} null keys, expected 0 to {}", options.null_keys, maximum_null_keys));
  if (!(options.threshold_log2_p < 0))
    throw UsageError(fmt::format("threshold 2^{}, expected below 2^0", options.threshold_log2_p));
  if (!(options.alternatives >= 1) || !std::isfinite(options.alternatives))
    throw UsageError(fmt::format("{} alternatives, expected at least 1", options.alternatives));
}

/// Why the suspect does not fit the mark; empty if it does.
std::string mismatch(const Mark& mark, const SafetensorsFile& suspect) {
  for (const MarkedLayer& layer : mark.layers) {
    const auto found = suspect.entries().find(layer.name);
    if (found == suspect.entries().end())
      return fmt::format("expected '{}' [{}], found no such tensor", layer.name,
                         fmt::join(layer.shape, ", "));
    if (found->second.shape != layer.shape)
      return fmt::format("expected '{}' [{}], found [{}]", layer.name, fmt::join(layer.shape, ", "),
                         fmt::join(found->second.shape, ", "));
  }
  return "";
}

std::vector<const Mark*> fitting_marks(const Claim& claim, const SafetensorsFile& suspect) {
  require(!claim.marks.empty(), "the claim of {} has no mark entry: train a network with this key first",
          claim.statement.owner);
  std::vector<const Mark*> fitting;
  std::string reasons;
  for (const SignedMark& entry : claim.marks) {
    const std::string reason = mismatch(entry.mark, suspect);
    if (reason.empty())
      fitting.push_back(&entry.mark);
    else if (reasons.size() < 1000)
      reasons += fmt::format("\n  {}: {}", entry.mark.network, reason);
  }
  require(!fitting.empty(), "{}: its layers fit none of the claim's {} marks:{}\n  the file has {} tensors",
          suspect.path().string(), claim.marks.size(), reasons, suspect.entries().size());
  return fitting;
}

Reader reader_for(const Mark& mark, const SafetensorsFile& suspect) {
  std::vector<std::vector<float>> storage;
  std::vector<LayerWeights> layers;
  for (const MarkedLayer& layer : mark.layers) {
    storage.push_back(suspect.read_f32(layer.name));
    layers.push_back({layer.name, layer.shape, storage.back()});
  }
  return Reader(layers, mark);
}

void judge(Verdict& verdict) {
  const std::string evidence =
      fmt::format("{} of {} bits match, p = 2^{:.1f}", verdict.matches.matches, verdict.bits, verdict.log2_p);
  const bool inverted = 2 * verdict.matches.matches < verdict.matches.readable;
  if (verdict.null_uniform_p < null_alarm) {
    verdict.reason = fmt::format("{}, but the null keys do not follow the binomial (p = {:.1g})", evidence,
                                 verdict.null_uniform_p);
  } else if (verdict.log2_p > verdict.threshold_log2_p) {
    verdict.reason = fmt::format("{}, above the threshold 2^{}", evidence, verdict.threshold_log2_p);
  } else {
    verdict.owned = true;
    verdict.reason = inverted ? evidence + " (all inverted: the weights' signs were flipped)" : evidence;
  }
}

}  // namespace

Verdict verify(const Claim& claim, const OwnerKey& key, const SafetensorsFile& suspect,
               const VerifyOptions& options) {
  check_options(options);
  check_claim(claim, "claim");
  const std::vector<const Mark*> marks = fitting_marks(claim, suspect);

  Verdict verdict;
  verdict.owner = claim.statement.owner;
  verdict.date = claim.statement.date;
  verdict.network = marks.front()->network;
  verdict.bits = claim.statement.bits;
  verdict.alternatives = options.alternatives * static_cast<double>(marks.size());
  verdict.threshold_log2_p = options.threshold_log2_p;
  verdict.null_seed = options.seed;
  verdict.null_uniform_p = std::nan("");
  verdict.model_digest = hex_digest(suspect.bytes());
  verdict.claim_digest = claim.file_digest;
  verdict.claim_commitment = to_hex(claim.commitment);
  verdict.key_commitment = to_hex(commitment_of(key.master, key.statement));
  // The payload is derived from the claim's statement, so this alone ties key, claim and payload together.
  if (!opens(key, claim)) {
    verdict.reason =
        "the key does not open the claim's commitment: it is not the key this claim was made with";
    return verdict;
  }

  const std::vector<int8_t> payload = payload_of(key.master, claim.statement);
  std::optional<Reader> best_reader;
  for (const Mark* mark : marks) {
    Reader reader = reader_for(*mark, suspect);
    Reading reading = reader.read(key.master, payload);
    const double log2_p =
        log2_p_value(reading.matches.matches, reading.matches.readable, verdict.alternatives);
    if (best_reader && log2_p >= verdict.log2_p) continue;
    best_reader = std::move(reader);
    verdict.log2_p = log2_p;
    verdict.network = mark->network;
    verdict.matches = reading.matches;
    verdict.bit_error_rate = reading.bit_error_rate;
    verdict.layers = std::move(reading.layers);
  }
  verdict.log10_p = verdict.log2_p * std::numbers::ln2 / std::numbers::ln10;

  const std::vector<BinomialDraw> null =
      best_reader->read_null(claim.statement, options.seed, options.null_keys);
  verdict.null_keys = options.null_keys;
  std::vector<double> null_matches;
  for (const BinomialDraw& draw : null) null_matches.push_back(static_cast<double>(draw.successes));
  const Moments moments = moments_of(null_matches);
  verdict.null_matches_mean = moments.mean;
  verdict.null_matches_deviation = moments.deviation;
  verdict.null_uniform_p = binomial_fit_p_value(null, options.seed);
  judge(verdict);
  return verdict;
}

std::string to_json(const Verdict& verdict) {
  using nlohmann::ordered_json;
  ordered_json layers = ordered_json::array();
  for (const LayerReading& layer : verdict.layers)
    layers.push_back({{"name", layer.name},
                      {"weights", layer.weights},
                      {"scale", layer.scale},
                      {"matches", layer.matches.matches},
                      {"readable", layer.matches.readable}});
  const ordered_json object = {{"format", "deepwater-verdict"},
                               {"version", 1},
                               {"verdict", verdict.verdict()},
                               {"reason", verdict.reason},
                               {"owner", verdict.owner},
                               {"date", verdict.date},
                               {"network", verdict.network},
                               {"bits", verdict.bits},
                               {"matches", verdict.matches.matches},
                               {"readable", verdict.matches.readable},
                               {"ber", verdict.bit_error_rate},
                               {"log2_p", verdict.log2_p},
                               {"log10_p", verdict.log10_p},
                               {"alternatives", verdict.alternatives},
                               {"threshold_log2_p", verdict.threshold_log2_p},
                               {"null_keys", verdict.null_keys},
                               {"null_seed", verdict.null_seed},
                               {"null_matches_mean", verdict.null_matches_mean},
                               {"null_matches_sd", verdict.null_matches_deviation},
                               {"null_uniform_p", verdict.null_uniform_p},
                               {"model_digest", verdict.model_digest},
                               {"claim_digest", verdict.claim_digest},
                               {"claim_commitment", verdict.claim_commitment},
                               {"key_commitment", verdict.key_commitment},
                               {"layers", std::move(layers)}};
  return object.dump(2);
}

}  // namespace dw
