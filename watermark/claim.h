// The public claim of ownership: a signed statement with the key's commitment, and a signed entry for every
// network marked with that key. File format and signed bytes: docs/formats.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "watermark/crypto.h"
#include "watermark/key.h"

namespace dw {

struct MarkedLayer {
  std::string name;  ///< of the weight in the model file: "block1.layer.0.conv1.weight"
  std::vector<int64_t> shape;

  bool operator==(const MarkedLayer&) const = default;
};

/// How and where a network carries the payload. `layers` order matters: ordinals key the carrier.
/// `strength` to `match` speak of scheme "deepwater" alone, `parameters` of every other scheme (other_mark).
struct Mark {
  std::string network;
  std::string scheme = "deepwater";               ///< watermark/scheme.h; a short lower-case word
  std::vector<MarkedLayer> layers;                ///< none for a scheme that is read from predictions
  int bits = 256;                                 ///< T, that of the statement
  std::map<std::string, double> parameters = {};  ///< what the scheme's reader must know, by name
  double strength = 10;                           ///< z*, standard errors by which each bit is to stand out
  double amplitude = 0;                           ///< a, 0 < a <= 0.9
  double tau = 0.7;                               ///< width of the tilt, in units of the layer's scale
  std::string density = "gaussian";               ///< f; a short lower-case word, informative
  std::string match = "skew";                     ///< loss used for embedding; likewise

  bool operator==(const Mark&) const = default;
};

/// A mark of another scheme than "deepwater": what speaks of that one alone is 0 and "none".
Mark other_mark(std::string scheme, std::string network, int bits);

struct SignedMark {
  Mark mark;
  Signature signature{};
};

struct Claim {
  Statement statement;
  Digest commitment{};
  Signature signature{};
  std::vector<SignedMark> marks;
  std::string file_digest;  ///< hexadecimal BLAKE2b-256 of the file this was loaded from, else empty
};

/// Product of the extents.
uint64_t weight_count(const MarkedLayer& layer);

/// Throws Error with `where` in front where a field is out of range.
void check_mark(const Mark& mark, std::string_view where);

/// The bytes a mark's signature covers, after the commitment.
std::vector<uint8_t> canonical_bytes(const Mark& mark);

/// A claim without marks. Error: the key cannot sign.
Claim make_claim(const OwnerKey& key);

/// Does this master key, with the claim's statement, open the claim's commitment?
bool opens(const OwnerKey& key, const Claim& claim);

/// Signs `mark` and appends it; false if the claim has it already. Errors: another owner's key, a key
/// without signing seed, a mark out of range.
bool add_mark(Claim& claim, const OwnerKey& key, const Mark& mark);

/// Throws Error with `where` in front unless every field is in range and every signature valid.
void check_claim(const Claim& claim, std::string_view where);

/// Replaces `path` atomically.
void save_claim(const Claim& claim, const std::filesystem::path& path);

/// Error: malformed, out of range or tampered with; names file and field.
Claim load_claim(const std::filesystem::path& path);

/// Writes a new key and its claim (beside it, claim_path_for). Error: either exists; then neither is written.
void save_key_and_claim(const OwnerKey& key, const std::filesystem::path& key_path);

}  // namespace dw
