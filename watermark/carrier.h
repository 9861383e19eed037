// The secret carrier of one layer: 32 bits per weight, in canonical (OIHW, row-major) order, from a stream
// cipher that the master key, the layer's ordinal and its shape key.
#pragma once

#include <cstdint>
#include <span>

#include "watermark/carrier_word.h"
#include "watermark/crypto.h"

namespace dw {

class Carrier {
 public:
  /// Weights a layer may have.
  static constexpr uint64_t length = KeyStream::length / sizeof(uint32_t);

  /// `ordinal` counts the marked layers from 0, in the order of the mark.
  Carrier(const Secret& master, uint32_t ordinal, std::span<const int64_t> shape);

  /// Words `offset`, `offset` + 1, ... into `out`. Error: beyond length.
  void words(uint64_t offset, std::span<uint32_t> out) const;

 private:
  KeyStream stream_;
};

}  // namespace dw
