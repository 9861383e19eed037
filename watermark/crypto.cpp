#include "watermark/crypto.h"

#include <sodium.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/error.h"

namespace dw {
namespace {

void start_sodium() {
  static const bool started = ::sodium_init() >= 0;
  require(started, "libsodium could not be initialised");
}

crypto_generichash_blake2b_state* state_of(std::span<uint8_t> storage) {
  static_assert(sizeof(crypto_generichash_blake2b_state) <= 384);
  static_assert(alignof(crypto_generichash_blake2b_state) <= 64);
  return reinterpret_cast<crypto_generichash_blake2b_state*>(storage.data());
}

/// libsodium's 64-byte form of a signing key: the seed and the public key.
struct ExpandedKey {
  explicit ExpandedKey(const Secret& seed) {
    start_sodium();
    ::crypto_sign_ed25519_seed_keypair(public_key.data(), secret.data(), seed.bytes().data());
  }
  ExpandedKey(const ExpandedKey&) = delete;
  ExpandedKey& operator=(const ExpandedKey&) = delete;
  ~ExpandedKey() { wipe(secret); }
  PublicKey public_key{};
  std::array<uint8_t, 64> secret{};
};

}  // namespace

void wipe(std::span<uint8_t> memory) {
  ::sodium_memzero(memory.data(), memory.size());
}

void wipe(std::string& text) {
  ::sodium_memzero(text.data(), text.size());
}

Secret Secret::random() {
  start_sodium();
  Secret secret;
  ::randombytes_buf(secret.bytes_.data(), secret.bytes_.size());
  return secret;
}

Hasher::Hasher() {
  start_sodium();
  ::crypto_generichash_blake2b_init(state_of(state_), nullptr, 0, Digest{}.size());
}

Hasher::Hasher(const Secret& key) {
  start_sodium();
  ::crypto_generichash_blake2b_init(state_of(state_), key.bytes().data(), key.bytes().size(),
                                    Digest{}.size());
}

Hasher::~Hasher() {
  wipe(state_);
}

Hasher& Hasher::update(std::span<const std::byte> bytes) {
  ::crypto_generichash_blake2b_update(state_of(state_), reinterpret_cast<const uint8_t*>(bytes.data()),
                                      bytes.size());
  return *this;
}

Digest Hasher::finish() {
  Digest digest;
  ::crypto_generichash_blake2b_final(state_of(state_), digest.data(), digest.size());
  return digest;
}

void KeyStream::read(uint64_t offset, std::span<uint8_t> out) const {
  constexpr uint64_t block_size = 64;
  constexpr uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES] = {};
  require(offset <= length && out.size() <= length - offset,
          "key stream: bytes {} to {} asked for, it has {}", offset, offset + out.size(), length);
  if (out.empty()) return;
  const uint64_t skip = offset % block_size;
  auto block = static_cast<uint32_t>(offset / block_size);
  if (skip != 0) {
    std::array<uint8_t, block_size> first{};
    ::crypto_stream_chacha20_ietf_xor_ic(first.data(), first.data(), first.size(), nonce, block++,
                                         key_.bytes().data());
    const size_t taken = std::min<size_t>(out.size(), block_size - skip);
    std::memcpy(out.data(), first.data() + skip, taken);
    wipe(first);
    out = out.subspan(taken);
    if (out.empty()) return;
  }
  std::memset(out.data(), 0, out.size());
  ::crypto_stream_chacha20_ietf_xor_ic(out.data(), out.data(), out.size(), nonce, block, key_.bytes().data());
}

PublicKey public_key_of(const Secret& seed) {
  return ExpandedKey(seed).public_key;
}

Signature sign(const Secret& seed, std::span<const uint8_t> message) {
  const ExpandedKey key(seed);
  Signature signature;
  ::crypto_sign_ed25519_detached(signature.data(), nullptr, message.data(), message.size(),
                                 key.secret.data());
  return signature;
}

bool signature_is_valid(const Signature& signature, std::span<const uint8_t> message, const PublicKey& key) {
  start_sodium();
  return ::crypto_sign_ed25519_verify_detached(signature.data(), message.data(), message.size(),
                                               key.data()) == 0;
}

std::string to_hex(std::span<const uint8_t> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(2 * bytes.size());
  for (const uint8_t byte : bytes) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

bool from_hex(std::string_view text, std::span<uint8_t> out) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (text.size() != 2 * out.size()) return false;
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(16 * high + low);
  }
  return true;
}

std::string hex_digest(std::span<const std::byte> bytes) {
  return to_hex(Hasher().update(bytes).finish());
}

CanonicalBytes& CanonicalBytes::text(std::string_view value) {
  u32(static_cast<uint32_t>(value.size()));
  bytes_.insert(bytes_.end(), value.begin(), value.end());
  return *this;
}

CanonicalBytes& CanonicalBytes::f64(double value) {
  return u64(std::bit_cast<uint64_t>(value));
}

CanonicalBytes& CanonicalBytes::raw(std::span<const uint8_t> value) {
  bytes_.insert(bytes_.end(), value.begin(), value.end());
  return *this;
}

CanonicalBytes& CanonicalBytes::little_endian(uint64_t value, int width) {
  for (int i = 0; i < width; ++i) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
  return *this;
}

}  // namespace dw
