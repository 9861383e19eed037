#include "watermark/carrier.h"

#include <bit>

#include "kernels/error.h"

namespace dw {
namespace {

static_assert(std::endian::native == std::endian::little, "words are the stream's bytes in place");

Digest carrier_key(const Secret& master, uint32_t ordinal, std::span<const int64_t> shape) {
  CanonicalBytes message;
  message.text("deepwater carrier v1").u32(ordinal).u32(static_cast<uint32_t>(shape.size()));
  for (const int64_t extent : shape) message.u64(static_cast<uint64_t>(extent));
  return Hasher(master).update(message.bytes()).finish();
}

}  // namespace

Carrier::Carrier(const Secret& master, uint32_t ordinal, std::span<const int64_t> shape)
    : stream_(carrier_key(master, ordinal, shape)) {}

void Carrier::words(uint64_t offset, std::span<uint32_t> out) const {
  require(offset <= length && out.size() <= length - offset, "carrier: words {} to {} asked for, it has {}",
          offset, offset + out.size(), length);
  stream_.read(offset * sizeof(uint32_t), {reinterpret_cast<uint8_t*>(out.data()), out.size_bytes()});
}

}  // namespace dw
