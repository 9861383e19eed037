// The verdict: is this weights file marked with this owner's key? Needs the claim, the key and the file only.
// Marks of every scheme are read and judged alike; those of a trigger set from predictions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "watermark/claim.h"
#include "watermark/key.h"
#include "watermark/model.h"
#include "watermark/reader.h"

namespace dw {

struct VerifyOptions {
  int null_keys = 1000;  ///< random keys scored on the suspect to calibrate the null; 0 for none
  uint64_t seed = 0;     ///< of the null keys
  double threshold_log2_p = -64;
  double alternatives = 1;        ///< realignments tried before this reading; p is multiplied by it
  ReadingProgress progress = {};  ///< of the null keys
};

struct Verdict {
  bool owned = false;
  std::string reason;  ///< one sentence
  std::string owner;
  std::string date;
  std::string network;
  std::string scheme;
  int bits = 0;         ///< T; of a trigger set: the pictures, and `matches` counts right labels
  double chance = 0.5;  ///< of a stranger's key to match one: 1 / classes for a trigger set
  Matches matches;
  double bit_error_rate = 1;
  double log2_p = 0;
  double log10_p = 0;
  double alternatives = 1;  ///< those of the options times the marks that fit the file
  double threshold_log2_p = 0;
  int null_keys = 0;
  uint64_t null_seed = 0;
  double null_matches_mean = 0;
  double null_matches_deviation = 0;
  double null_uniform_p = 0;  ///< of the fit of the null keys' matches to the binomial; NaN without null keys
  std::string model_digest;   ///< hexadecimal BLAKE2b-256 of the file
  std::string claim_digest;   ///< of the claim's file; empty for a claim that was not loaded from one
  std::string claim_commitment;
  std::string key_commitment;  ///< what the key commits to: equal to the claim's where they belong together
  std::vector<LayerReading> layers;  ///< of the mark, those missing from the suspect included

  /// "OWNED" or "NOT PROVEN".
  std::string verdict() const { return owned ? "OWNED" : "NOT PROVEN"; }
};

/// NOT PROVEN (never an Error) for a key that does not open the claim's commitment, too few matches, or null
/// keys that do not behave as theory says. Errors: a claim that is not properly signed or has no mark yet; a
/// file with no layer of any of the claim's marks; weights that are not finite. UsageError: bad options.
Verdict verify(const Claim& claim, const OwnerKey& key, const SafetensorsFile& suspect,
               const VerifyOptions& options = {});

/// Likewise of weights in memory, such as a suspect after realignment; `name` and `digest` are those of the
/// file it came from.
Verdict verify(const Claim& claim, const OwnerKey& key, const Model& suspect, const std::string& name,
               const std::string& digest, const VerifyOptions& options = {});

/// The verdict on a model that can only be asked: from its labels of the trigger pictures (docs/formats.md).
/// Errors as above, and a malformed file of predictions.
Verdict verify_predictions(const Claim& claim, const OwnerKey& key, const std::filesystem::path& predictions,
                           const VerifyOptions& options = {});

/// One JSON object (docs/formats.md).
std::string to_json(const Verdict& verdict);

}  // namespace dw
