// The cryptography of ownership: BLAKE2b-256 and Ed25519 over libsodium, a seekable ChaCha20 key stream over
// OpenSSL.
// What is hashed, in which order, is written down in docs/formats.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dw {

using Digest = std::array<uint8_t, 32>;
using PublicKey = std::array<uint8_t, 32>;
using Signature = std::array<uint8_t, 64>;

/// Overwrites memory in a way the compiler keeps.
void wipe(std::span<uint8_t> memory);
void wipe(std::string& text);

/// 32 secret bytes; every copy is wiped when it goes.
class Secret {
 public:
  Secret() = default;
  explicit Secret(const std::array<uint8_t, 32>& bytes) : bytes_(bytes) {}
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret() { wipe(bytes_); }
  /// From the system's random generator.
  static Secret random();

  std::span<const uint8_t, 32> bytes() const { return bytes_; }
  std::span<uint8_t, 32> bytes() { return bytes_; }

 private:
  std::array<uint8_t, 32> bytes_{};
};

/// BLAKE2b-256 over bytes fed in pieces, optionally keyed.
class Hasher {
 public:
  Hasher();
  explicit Hasher(const Secret& key);
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  ~Hasher();

  Hasher& update(std::span<const std::byte> bytes);
  Hasher& update(std::span<const uint8_t> bytes) { return update(std::as_bytes(bytes)); }
  /// Call once.
  Digest finish();

 private:
  alignas(64) std::array<uint8_t, 384> state_;
};

/// The ChaCha20 key stream (RFC 8439) of a key, nonce zero, readable from any offset below 2^38 bytes.
class KeyStream {
 public:
  static constexpr uint64_t length = uint64_t{1} << 38;
  explicit KeyStream(const Digest& key) : key_(key) {}
  /// Fills `out` with the stream's bytes from `offset` on. Error: beyond the stream's end.
  void read(uint64_t offset, std::span<uint8_t> out) const;

 private:
  Secret key_;
};

/// Ed25519 with a 32-byte seed.
PublicKey public_key_of(const Secret& seed);
Signature sign(const Secret& seed, std::span<const uint8_t> message);
bool signature_is_valid(const Signature& signature, std::span<const uint8_t> message, const PublicKey& key);

/// Lower-case hexadecimal.
std::string to_hex(std::span<const uint8_t> bytes);
/// Fills `out`; false unless `text` is exactly 2 * out.size() lower-case hexadecimal digits.
bool from_hex(std::string_view text, std::span<uint8_t> out);

/// BLAKE2b-256 of `bytes` as hexadecimal: what `b2sum -l 256` prints for a file.
std::string hex_digest(std::span<const std::byte> bytes);

/// Unambiguous bytes for hashing and signing: little-endian numbers, strings with their length in front.
class CanonicalBytes {
 public:
  CanonicalBytes& text(std::string_view value);
  CanonicalBytes& u32(uint32_t value) { return little_endian(value, 4); }
  CanonicalBytes& u64(uint64_t value) { return little_endian(value, 8); }
  /// IEEE 754 binary64.
  CanonicalBytes& f64(double value);
  /// As they are, without a length.
  CanonicalBytes& raw(std::span<const uint8_t> value);
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  CanonicalBytes& little_endian(uint64_t value, int width);
  std::vector<uint8_t> bytes_;
};

}  // namespace dw
