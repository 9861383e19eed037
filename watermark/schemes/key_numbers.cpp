#include "watermark/schemes/key_numbers.h"

#include <cmath>
#include <numbers>

namespace dw {
namespace {

Digest stream_key(const Secret& master, std::string_view scheme, std::string_view purpose) {
  const CanonicalBytes message = CanonicalBytes().text("deepwater scheme v1").text(scheme).text(purpose);
  return Hasher(master).update(message.bytes()).finish();
}

}  // namespace

KeyNumbers::KeyNumbers(const Secret& master, std::string_view scheme, std::string_view purpose)
    : KeyNumbers(stream_key(master, scheme, purpose)) {}

uint32_t KeyNumbers::word() {
  if (place_ == words_.size()) {
    stream_.read(offset_, {reinterpret_cast<uint8_t*>(words_.data()), sizeof words_});
    offset_ += sizeof words_;
    place_ = 0;
  }
  return words_[place_++];
}

std::vector<float> KeyNumbers::normals(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; i += 2) {
    const double first = (static_cast<double>(word()) + 1) * 0x1p-32;
    const double angle = 2 * std::numbers::pi * static_cast<double>(word()) * 0x1p-32;
    const double radius = std::sqrt(-2 * std::log(first));
    values[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < count) values[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return values;
}

}  // namespace dw
