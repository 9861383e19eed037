// Random numbers a scheme draws from the owner's key: matrices, places. docs/formats.md says how.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "watermark/crypto.h"

namespace dw {

class KeyNumbers {
 public:
  /// One sequence for each scheme and purpose. A master key's sequences tell nothing of each other.
  KeyNumbers(const Secret& master, std::string_view scheme, std::string_view purpose);
  explicit KeyNumbers(const Digest& stream_key) : stream_(stream_key) {}

  uint32_t word();
  /// 0 .. bound - 1, uniform up to bound / 2^32.
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>((uint64_t{word()} * bound) >> 32); }
  /// Standard normal, by Box and Muller's method.
  std::vector<float> normals(size_t count);

 private:
  KeyStream stream_;
  std::array<uint32_t, 1024> words_{};
  uint64_t offset_ = 0;  // of the words that come next, in the stream
  size_t place_ = words_.size();
};

}  // namespace dw
