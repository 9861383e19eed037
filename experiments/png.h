// Pictures for reports: raw pixels to PNG.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace dw {

/// The bytes of a PNG file of `height` rows of `width` pixels, each of `channels` (1 grey, 3 RGB) bytes,
/// row-major and channels last. Error where the sizes do not fit.
std::string encode_png(std::span<const uint8_t> pixels, size_t width, size_t height, size_t channels);

/// `bytes` in base64, padded.
std::string encode_base64(std::string_view bytes);

}  // namespace dw
