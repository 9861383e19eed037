#include "watermark/verifier.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>

#include "core/files.h"
#include "kernels/error.h"
#include "watermark/scheme.h"
#include "watermark/trigger_set.h"

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

bool is_black_box(const std::string& scheme) {
  const Scheme* found = find_scheme(scheme);
  return found != nullptr && !found->reads_weights();
}

/// Of this program's schemes, which read weights.
bool is_white_box(const std::string& scheme) {
  const Scheme* found = find_scheme(scheme);
  return found != nullptr && found->reads_weights();
}

/// Where the weights come from.
struct Suspect {
  std::string name;
  size_t tensors = 0;
  std::function<std::string()> digest;                                   // once, when everything is read
  std::function<const std::vector<int64_t>*(const std::string&)> shape;  // null: no such tensor
  std::function<FloatView(const std::string&)> values;

  bool has(const MarkedLayer& layer) const {
    const std::vector<int64_t>* found = shape(layer.name);
    return found != nullptr && *found == layer.shape;
  }
};

/// Its digest is made of what is read for the verdict, in the same pass.
Suspect suspect_of(const SafetensorsFile& file) {
  const auto hasher = std::make_shared<Hasher>();
  const auto pass =
      std::make_shared<FilePass>(file, [hasher](std::span<const std::byte> piece) { hasher->update(piece); });
  return {file.path().string(), file.entries().size(),
          [hasher, pass] {
            pass->finish();
            return to_hex(hasher->finish());
          },
          [&file](const std::string& name) {
            const auto found = file.entries().find(name);
            return found == file.entries().end() ? nullptr : &found->second.shape;
          },
          [&file, pass](const std::string& name) { return file.floats(name, pass.get()); }};
}

Suspect suspect_of(const Model& model, const std::string& name, const std::string& digest) {
  return {name, model.tensors.size(), [digest] { return digest; },
          [&model](const std::string& tensor) {
            const ModelTensor* found = model.find(tensor);
            return found == nullptr ? nullptr : &found->shape;
          },
          [&model](const std::string& tensor) { return FloatView(model.at(tensor).values); }};
}

/// Why none of the mark's layers is there, by its first.
std::string mismatch(const Mark& mark, const Suspect& suspect) {
  if (find_scheme(mark.scheme) == nullptr)
    return fmt::format("scheme {} is not known to this program", mark.scheme);
  if (is_black_box(mark.scheme)) return fmt::format("scheme {} is read from predictions", mark.scheme);
  if (mark.layers.empty()) return fmt::format("scheme {} names no layer", mark.scheme);
  const MarkedLayer& layer = mark.layers.front();
  const std::vector<int64_t>* found = suspect.shape(layer.name);
  return fmt::format("expected '{}' [{}], found {}", layer.name, fmt::join(layer.shape, ", "),
                     found == nullptr ? "no such tensor" : fmt::format("[{}]", fmt::join(*found, ", ")));
}

void require_marks(const Claim& claim) {
  require(!claim.marks.empty(), "the claim of {} has no mark entry: train a network with this key first",
          claim.statement.owner);
}

std::vector<const Mark*> fitting_marks(const Claim& claim, const Suspect& suspect) {
  require_marks(claim);
  std::vector<const Mark*> fitting;
  std::string reasons;
  for (const SignedMark& entry : claim.marks) {
    const std::vector<MarkedLayer>& layers = entry.mark.layers;
    const auto is_there = [&](const MarkedLayer& layer) { return suspect.has(layer); };
    if (is_white_box(entry.mark.scheme) && std::any_of(layers.begin(), layers.end(), is_there))
      fitting.push_back(&entry.mark);
    else if (reasons.size() < 1000)
      reasons += fmt::format("\n  {}: {}", entry.mark.network, mismatch(entry.mark, suspect));
  }
  require(!fitting.empty(), "{}: its layers fit none of the claim's {} marks:{}\n  the file has {} tensors",
          suspect.name, claim.marks.size(), reasons, suspect.tensors);
  return fitting;
}

/// The mark's layers as the suspect has them.
class MarkedWeights {
 public:
  MarkedWeights(const Mark& mark, const Suspect& suspect) : mark_(mark) {
    for (const MarkedLayer& layer : mark.layers)
      weights_.push_back(suspect.has(layer) ? suspect.values(layer.name) : FloatView());
  }

  std::unique_ptr<MarkReader> reader() const {
    std::vector<LayerWeights> layers;
    for (size_t l = 0; l < weights_.size(); ++l) layers.push_back(layer(l, true));
    return scheme_named(mark_.scheme).reader(layers, mark_);
  }

  /// Every layer read as if the others were missing, for schemes whose reader does not tell.
  std::vector<LayerReading> alone(const Secret& master, std::span<const int8_t> payload) const {
    std::vector<LayerReading> readings;
    for (size_t l = 0; l < weights_.size(); ++l) {
      LayerReading& reading = readings.emplace_back();
      reading.name = mark_.layers[l].name;
      reading.present = !weights_[l].empty();
      if (!reading.present) continue;
      std::vector<LayerWeights> layers;
      for (size_t k = 0; k < weights_.size(); ++k) layers.push_back(layer(k, k == l));
      reading.weights = weights_[l].size();
      reading.scale = scale_of(layers[l]);
      reading.matches = matches_of(scheme_named(mark_.scheme).reader(layers, mark_)->scores(master, payload));
      reading.log2_p = log2_p_value(reading.matches.matches, reading.matches.readable);
    }
    return readings;
  }

 private:
  LayerWeights layer(size_t l, bool with_weights) const {
    return {mark_.layers[l].name, mark_.layers[l].shape, with_weights ? weights_[l] : FloatView()};
  }

  const Mark& mark_;
  std::vector<FloatView> weights_;
};

void judge(Verdict& verdict) {
  const std::string evidence =
      fmt::format("{} of {} {} match, p = 2^{:.1f}", verdict.matches.matches, verdict.bits,
                  is_black_box(verdict.scheme) ? "labels" : "bits", verdict.log2_p);
  const bool inverted =
      !is_black_box(verdict.scheme) && 2 * verdict.matches.matches < verdict.matches.readable;
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

/// What is known before anything is read; `reason` is set where the key is not the claim's.
Verdict opened(const Claim& claim, const OwnerKey& key, const VerifyOptions& options) {
  Verdict verdict;
  verdict.owner = claim.statement.owner;
  verdict.date = claim.statement.date;
  verdict.bits = claim.statement.bits;
  verdict.threshold_log2_p = options.threshold_log2_p;
  verdict.null_seed = options.seed;
  verdict.null_uniform_p = std::nan("");
  verdict.claim_digest = claim.file_digest;
  verdict.claim_commitment = to_hex(claim.commitment);
  verdict.key_commitment = to_hex(commitment_of(key.master, key.statement));
  // Payload and triggers are derived from the claim's statement, so this alone ties key, claim and mark
  // together.
  if (!opens(key, claim)) {
    verdict.reason =
        "the key does not open the claim's commitment: it is not the key this claim was made with";
  }
  return verdict;
}

void calibrate(Verdict& verdict, const std::vector<BinomialDraw>& null, const VerifyOptions& options) {
  verdict.log10_p = verdict.log2_p * std::numbers::ln2 / std::numbers::ln10;
  verdict.null_keys = options.null_keys;
  std::vector<double> matches;
  for (const BinomialDraw& draw : null)
    if (draw.trials > 0) matches.push_back(static_cast<double>(draw.successes));
  const Moments moments = moments_of(matches);
  verdict.null_matches_mean = moments.mean;
  verdict.null_matches_deviation = moments.deviation;
  verdict.null_uniform_p = binomial_fit_p_value(null, options.seed, verdict.chance);
}

Verdict read_and_judge(const Claim& claim, const OwnerKey& key, const Suspect& suspect,
                       const VerifyOptions& options) {
  check_options(options);
  check_claim(claim, "claim");
  const std::vector<const Mark*> marks = fitting_marks(claim, suspect);
  Verdict verdict = opened(claim, key, options);
  verdict.network = marks.front()->network;
  verdict.scheme = marks.front()->scheme;
  verdict.alternatives = options.alternatives * static_cast<double>(marks.size());
  if (!verdict.reason.empty()) return verdict;

  const std::vector<int8_t> payload = payload_of(key.master, claim.statement);
  const Strangers strangers{&claim.statement, options.seed, options.null_keys, options.progress};
  // One mark is read together with the strangers; of several, only the best is worth theirs.
  const bool together = marks.size() == 1;
  std::unique_ptr<MarkReader> best;
  std::vector<BinomialDraw> null;
  for (const Mark* mark : marks) {
    const MarkedWeights weights(*mark, suspect);
    std::unique_ptr<MarkReader> reader = weights.reader();
    Reading reading = reader->read(key.master, payload, together ? strangers : Strangers{});
    const Matches matches = reading.matches;
    const double log2_p = log2_p_value(matches.matches, matches.readable, verdict.alternatives);
    if (best && log2_p >= verdict.log2_p) continue;
    best = std::move(reader);
    null = std::move(reading.strangers);
    verdict.log2_p = log2_p;
    verdict.network = mark->network;
    verdict.scheme = mark->scheme;
    verdict.matches = matches;
    verdict.bit_error_rate = reading.bit_error_rate;
    verdict.layers = reading.layers.empty() ? weights.alone(key.master, payload) : std::move(reading.layers);
  }
  calibrate(verdict, together ? null : best->read_null(strangers), options);
  judge(verdict);
  return verdict;
}

Verdict verify(const Claim& claim, const OwnerKey& key, const Suspect& suspect,
               const VerifyOptions& options) {
  Verdict verdict = read_and_judge(claim, key, suspect, options);
  verdict.model_digest = suspect.digest();
  return verdict;
}

}  // namespace

Verdict verify(const Claim& claim, const OwnerKey& key, const SafetensorsFile& suspect,
               const VerifyOptions& options) {
  return verify(claim, key, suspect_of(suspect), options);
}

Verdict verify(const Claim& claim, const OwnerKey& key, const Model& suspect, const std::string& name,
               const std::string& digest, const VerifyOptions& options) {
  return verify(claim, key, suspect_of(suspect, name, digest), options);
}

Verdict verify_predictions(const Claim& claim, const OwnerKey& key, const std::filesystem::path& predictions,
                           const VerifyOptions& options) {
  check_options(options);
  check_claim(claim, "claim");
  require_marks(claim);
  std::vector<const Mark*> marks;
  for (const SignedMark& entry : claim.marks)
    if (is_black_box(entry.mark.scheme)) marks.push_back(&entry.mark);
  require(!marks.empty(),
          "none of the claim's {} marks is a trigger set: only those are read from predictions",
          claim.marks.size());
  Verdict verdict = opened(claim, key, options);
  verdict.model_digest = hex_digest(read_file(predictions));
  verdict.network = marks.front()->network;
  verdict.scheme = marks.front()->scheme;
  verdict.alternatives = options.alternatives * static_cast<double>(marks.size());
  if (!verdict.reason.empty()) return verdict;

  std::vector<BinomialDraw> null;
  for (const Mark* mark : marks) {
    const std::vector<int64_t> expected = trigger_labels(key.master, claim.statement, *mark);
    const std::vector<int64_t> found = read_predictions(predictions, trigger_count(*mark));
    const auto count = static_cast<int>(expected.size());
    Matches matches{0, count};
    for (size_t i = 0; i < expected.size(); ++i) matches.matches += expected[i] == found[i];
    const double chance = 1 / static_cast<double>(trigger_classes(*mark));
    const double log2_p =
        std::min(0.0, log2_binomial_tail(matches.matches, count, chance) + std::log2(verdict.alternatives));
    if (mark != marks.front() && log2_p >= verdict.log2_p) continue;
    verdict.log2_p = log2_p;
    verdict.network = mark->network;
    verdict.bits = count;
    verdict.chance = chance;
    verdict.matches = matches;
    verdict.bit_error_rate = static_cast<double>(count - matches.matches) / count;
    null = strangers_agreement(found, claim.statement, *mark, options.seed, options.null_keys);
  }
  calibrate(verdict, null, options);
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
                      {"present", layer.present},
                      {"matches", layer.matches.matches},
                      {"readable", layer.matches.readable},
                      {"log2_p", layer.log2_p}});
  const ordered_json object = {{"format", "deepwater-verdict"},
                               {"version", 1},
                               {"verdict", verdict.verdict()},
                               {"reason", verdict.reason},
                               {"owner", verdict.owner},
                               {"date", verdict.date},
                               {"network", verdict.network},
                               {"scheme", verdict.scheme},
                               {"bits", verdict.bits},
                               {"chance", verdict.chance},
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
