// Picture files: reading JPEG, PNG and BMP, writing PNG, resizing. The only place that knows stb.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace dw {

struct ImageHeader {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;  ///< 1 or 3: alpha is not counted, a palette counts as 3
};

struct Image {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
  std::vector<uint8_t> pixels;  ///< [height, width, channels]
};

/// Pictures with more pixels than this are refused before anything is allocated for them.
inline constexpr int64_t max_image_pixels = int64_t{1} << 26;

/// True for names that end in .jpg, .jpeg, .png or .bmp, in any case.
bool has_image_extension(const std::filesystem::path& path);

/// Size and channels, from the header only. Errors (naming the file): unreadable, empty, not JPEG, PNG or
/// BMP, more than max_image_pixels.
ImageHeader read_image_header(const std::filesystem::path& path);

/// Decodes with `channels` 1 or 3 (alpha is dropped; 16-bit samples keep their upper 8 bits).
/// Errors as read_image_header, and: truncated or corrupt.
Image read_image(const std::filesystem::path& path, int64_t channels);

/// Bilinear, antialiased when shrinking. `in` is [from_height, from_width, channels], `out` likewise; samples
/// are treated as linear.
void resize_image(std::span<const uint8_t> in, int64_t from_height, int64_t from_width,
                  std::span<uint8_t> out, int64_t to_height, int64_t to_width, int64_t channels);

/// The bytes of a PNG file.
std::vector<std::byte> encode_png(std::span<const uint8_t> pixels, int64_t height, int64_t width,
                                  int64_t channels);

}  // namespace dw
