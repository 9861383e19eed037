// The format: https://www.w3.org/TR/png-3/
#include "experiments/png.h"

#include <zlib.h>

#include <array>
#include <string_view>
#include <vector>

#include "kernels/error.h"

namespace dw {
namespace {

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::string chunk(std::string_view type, std::string_view data) {
  std::string body(type);
  body += data;
  const uLong sum = crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size());
  return big_endian(static_cast<uint32_t>(data.size())) + body + big_endian(static_cast<uint32_t>(sum));
}

}  // namespace

std::string encode_png(std::span<const uint8_t> pixels, size_t width, size_t height, size_t channels) {
  constexpr size_t largest_side = 1 << 15;
  require(width > 0 && height > 0 && width <= largest_side && height <= largest_side,
          "cannot write a PNG of {} x {} pixels", width, height);
  require(channels == 1 || channels == 3, "cannot write a PNG of {} channels, expected 1 or 3", channels);
  require(pixels.size() == width * height * channels, "a PNG of {} x {} x {} needs {} bytes, found {}", width,
          height, channels, width * height * channels, pixels.size());

  const size_t row = width * channels;
  std::vector<uint8_t> raw;
  raw.reserve((row + 1) * height);
  for (size_t y = 0; y < height; ++y) {
    raw.push_back(0);  // the row's filter: none
    raw.insert(raw.end(), pixels.begin() + static_cast<std::ptrdiff_t>(y * row),
               pixels.begin() + static_cast<std::ptrdiff_t>((y + 1) * row));
  }
  std::string packed(compressBound(raw.size()), '\0');
  uLongf packed_size = packed.size();
  require(compress(reinterpret_cast<Bytef*>(packed.data()), &packed_size, raw.data(), raw.size()) == Z_OK,
          "cannot compress a PNG of {} bytes", raw.size());
  packed.resize(packed_size);

  const char colour_type = channels == 3 ? 2 : 0;
  const std::string header = big_endian(static_cast<uint32_t>(width)) +
                             big_endian(static_cast<uint32_t>(height)) + std::string{8, colour_type, 0, 0, 0};
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", packed) + chunk("IEND", {});
}

std::string encode_base64(std::string_view bytes) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = (group << 8) | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k) text += k <= count ? alphabet[(group >> (18 - 6 * k)) & 63] : '=';
  }
  return text;
}

}  // namespace dw
