// The owner's secret and public statement, and what is derived from them: the commitment and the payload.
// File format and derivations: docs/formats.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "watermark/crypto.h"

namespace dw {

inline constexpr int minimum_bits = 64;
inline constexpr int maximum_bits = 32767;

/// What the owner says in public, fixed when the key is made.
struct Statement {
  std::string owner;  ///< 1 to 256 bytes of UTF-8 without control characters
  std::string date;   ///< UTC, "2026-03-01T12:00:00Z"
  std::string note;   ///< at most 4096 bytes, same characters
  PublicKey public_key{};
  int bits = 256;  ///< payload size T

  bool operator==(const Statement&) const = default;
};

/// Secret. A key disclosed to a judge may lack the signing seed: it verifies, but cannot sign marks.
struct OwnerKey {
  Secret master;
  std::optional<Secret> signing_seed;
  Statement statement;
};

/// A fresh key, dated now. UsageError: empty or over-long owner or note, not UTF-8, bits out of range.
OwnerKey generate_key(std::string_view owner, int bits = 256, std::string_view note = "");

/// Throws Error with `where` in front where a field is out of range.
void check_statement(const Statement& statement, std::string_view where);

/// The bytes that are hashed and signed.
std::vector<uint8_t> canonical_bytes(const Statement& statement);

/// Binds the owner to the master key without revealing it.
Digest commitment_of(const Secret& master, const Statement& statement);

/// The statement.bits payload bits, each +1 or -1.
std::vector<int8_t> payload_of(const Secret& master, const Statement& statement);

/// Writes a new key file, mode 0600. Error: `path` exists.
void save_key(const OwnerKey& key, const std::filesystem::path& path);

/// Error: malformed file, unknown version, a seed that does not fit the statement; names file and field.
OwnerKey load_key(const std::filesystem::path& path);

/// "X.key" gives "X.claim.json"; any other name gets ".claim.json" appended.
std::filesystem::path claim_path_for(const std::filesystem::path& key_path);

}  // namespace dw
