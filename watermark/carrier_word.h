// What one carrier word says about its weight. Used by the kernels and by the reader.
#pragma once

#include <cstdint>

namespace dw {

/// -1 where the top bit is set, else +1.
constexpr int sign_of_word(uint32_t word) {
  return (word >> 31) != 0 ? -1 : 1;
}

/// The payload bit that owns the weight, floor((word mod 2^31) bits / 2^31): 0 .. bits-1, uniform up to
/// bits / 2^31. bits <= 32767, so that 32-bit products of half words hold it.
constexpr uint32_t bit_of_word(uint32_t word, uint32_t bits) {
  const uint32_t low = word & 0xffffU, high = word >> 16 & 0x7fffU;
  return (high * bits + (low * bits >> 16)) >> 15;
}

/// The same for 2^exponent bits, by a shift.
constexpr uint32_t bit_of_word_by_shift(uint32_t word, int exponent) {
  return (word & 0x7fffffffU) >> (31 - exponent);
}

/// Both in 16 bits (bits <= 32767): top bit set for a negative sign, the bit's index below.
constexpr uint16_t packed_word(uint32_t word, uint32_t bits) {
  return static_cast<uint16_t>((word >> 31) << 15 | bit_of_word(word, bits));
}

}  // namespace dw
