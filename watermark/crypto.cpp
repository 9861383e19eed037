#include "watermark/crypto.h"

#include <openssl/evp.h>
#include <sodium.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

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

struct CloseContext {
  void operator()(EVP_CIPHER_CTX* context) const { ::EVP_CIPHER_CTX_free(context); }
};

/// OpenSSL's, twice as fast as libsodium's where there is AVX-512. With a library context of its own, which
/// reads no configuration of the machine's.
const EVP_CIPHER* chacha20() {
  static OSSL_LIB_CTX* const library = ::OSSL_LIB_CTX_new();
  static const EVP_CIPHER* const cipher = ::EVP_CIPHER_fetch(library, "ChaCha20", nullptr);
  require(cipher != nullptr, "OpenSSL has no ChaCha20");
  return cipher;
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
  constexpr size_t most_at_once = size_t{1} << 30;  // OpenSSL counts in int
  require(offset <= length && out.size() <= length - offset,
          "key stream: bytes {} to {} asked for, it has {}", offset, offset + out.size(), length);
  if (out.empty()) return;
  const auto block = static_cast<uint32_t>(offset / block_size);
  std::array<uint8_t, 16> start{};  // the block's number, and the nonce
  for (size_t i = 0; i < sizeof block; ++i) start[i] = static_cast<uint8_t>(block >> (8 * i));
  const std::unique_ptr<EVP_CIPHER_CTX, CloseContext> context(::EVP_CIPHER_CTX_new());
  bool done = context && ::EVP_EncryptInit_ex2(context.get(), chacha20(), key_.bytes().data(), start.data(),
                                               nullptr) == 1;
  // The stream is what zeros are encrypted to.
  const auto next = [&](std::span<uint8_t> bytes) {
    std::memset(bytes.data(), 0, bytes.size());
    int written = 0;
    done = done && ::EVP_EncryptUpdate(context.get(), bytes.data(), &written, bytes.data(),
                                       static_cast<int>(bytes.size())) == 1;
  };
  std::array<uint8_t, block_size> before{};
  next(std::span(before).first(offset % block_size));
  wipe(before);
  for (; !out.empty(); out = out.subspan(std::min(out.size(), most_at_once)))
    next(out.first(std::min(out.size(), most_at_once)));
  require(done, "key stream: OpenSSL could not run ChaCha20");
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
