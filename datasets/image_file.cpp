// Picture files through stb_image, stb_image_write and stb_image_resize, with the checks that stb leaves to
// its caller: size limits before allocation, truncated files, PNG checksums.
#include "datasets/image_file.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <memory>
#include <string>

#include "core/files.h"
#include "kernels/error.h"

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_RESIZE_STATIC
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb_image.h>
#include <stb_image_resize.h>
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace dw {
namespace {

constexpr size_t max_file_bytes = size_t{1} << 28;

/// Feeds stb from memory and notices when it asks for bytes past the end, which stb itself reads as zeros.
struct Feed {
  std::span<const std::byte> bytes;
  size_t position = 0;
  bool overrun = false;

  static int read(void* user, char* out, int size) {
    auto& feed = *static_cast<Feed*>(user);
    const size_t count = std::min(static_cast<size_t>(size), feed.bytes.size() - feed.position);
    if (count == 0) feed.overrun = true;
    std::memcpy(out, feed.bytes.data() + feed.position, count);
    feed.position += count;
    return static_cast<int>(count);
  }
  static void skip(void* user, int count) {
    auto& feed = *static_cast<Feed*>(user);
    const auto target = static_cast<int64_t>(feed.position) + count;
    feed.overrun = feed.overrun || target > static_cast<int64_t>(feed.bytes.size());
    feed.position =
        static_cast<size_t>(std::clamp<int64_t>(target, 0, static_cast<int64_t>(feed.bytes.size())));
  }
  static int at_end(void* user) {
    const auto& feed = *static_cast<const Feed*>(user);
    return feed.position >= feed.bytes.size();
  }
};

constexpr stbi_io_callbacks feed_callbacks{Feed::read, Feed::skip, Feed::at_end};

std::vector<std::byte> read_image_bytes(const std::filesystem::path& path) {
  auto bytes = read_file(path, max_file_bytes);
  require(!bytes.empty(), "{} is empty, expected a JPEG, PNG or BMP picture", path.string());
  return bytes;
}

ImageHeader parse_header(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  int width = 0, height = 0, components = 0;
  const int known = stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                                          static_cast<int>(bytes.size()), &width, &height, &components);
  require(known != 0, "{} is not a readable JPEG, PNG or BMP picture ({})", path.string(),
          stbi_failure_reason());
  require(width > 0 && height > 0 && int64_t{width} * height <= max_image_pixels,
          "{} claims {} x {} pixels, expected at most {} in all", path.string(), width, height,
          max_image_pixels);
  return {height, width, components <= 2 ? 1 : 3};
}

uint32_t big_endian(std::span<const std::byte> bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<uint32_t>(bytes[at + i]);
  return value;
}

/// stb reads PNG without looking at its checksums, so damage inside a chunk would pass as a picture.
void check_png_chunks(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  constexpr std::array<uint8_t, 8> signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  if (bytes.size() < signature.size() || std::memcmp(bytes.data(), signature.data(), signature.size()) != 0)
    return;
  constexpr size_t around = 12;  // length, type and checksum of a chunk
  for (size_t at = signature.size();;) {
    require(bytes.size() - at >= around, "{} is truncated: PNG ends at byte {} without IEND", path.string(),
            bytes.size());
    const size_t length = big_endian(bytes, at);
    require(bytes.size() - at - around >= length,
            "{} is truncated: the PNG chunk at byte {} needs {} bytes, {} left", path.string(), at, length,
            bytes.size() - at - around);
    const auto content = bytes.subspan(at + 4, length + 4);
    const auto sum = static_cast<uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
    require(sum == big_endian(bytes, at + 8 + length),
            "{} is corrupt: bad checksum of the PNG chunk at byte {}", path.string(), at);
    if (std::memcmp(content.data(), "IEND", 4) == 0) return;
    at += around + length;
  }
}

}  // namespace

bool has_image_extension(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".bmp";
}

ImageHeader read_image_header(const std::filesystem::path& path) {
  return parse_header(path, read_image_bytes(path));
}

Image read_image(const std::filesystem::path& path, int64_t channels) {
  const auto bytes = read_image_bytes(path);
  parse_header(path, bytes);
  check_png_chunks(path, bytes);
  Feed feed{bytes};
  int width = 0, height = 0, components = 0;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> decoded(
      stbi_load_from_callbacks(&feed_callbacks, &feed, &width, &height, &components,
                               static_cast<int>(channels)),
      stbi_image_free);
  require(!feed.overrun, "{} is truncated: the picture does not end within its {} bytes", path.string(),
          bytes.size());
  require(decoded != nullptr, "{} is corrupt: {}", path.string(), stbi_failure_reason());
  const auto count = static_cast<size_t>(int64_t{height} * width * channels);
  return {height, width, channels, {decoded.get(), decoded.get() + count}};
}

void resize_image(std::span<const uint8_t> in, int64_t from_height, int64_t from_width,
                  std::span<uint8_t> out, int64_t to_height, int64_t to_width, int64_t channels) {
  if (from_height == to_height && from_width == to_width) {
    std::ranges::copy(in, out.begin());
    return;
  }
  const int done = stbir_resize_uint8_generic(
      in.data(), static_cast<int>(from_width), static_cast<int>(from_height), 0, out.data(),
      static_cast<int>(to_width), static_cast<int>(to_height), 0, static_cast<int>(channels),
      STBIR_ALPHA_CHANNEL_NONE, 0, STBIR_EDGE_CLAMP, STBIR_FILTER_TRIANGLE, STBIR_COLORSPACE_LINEAR, nullptr);
  require(done != 0, "cannot resize a picture of {} x {} to {} x {}: out of memory", from_width, from_height,
          to_width, to_height);
}

std::vector<std::byte> encode_png(std::span<const uint8_t> pixels, int64_t height, int64_t width,
                                  int64_t channels) {
  std::vector<std::byte> file;
  const auto append = [](void* user, void* data, int size) {
    const auto* begin = static_cast<const std::byte*>(data);
    auto& out = *static_cast<std::vector<std::byte>*>(user);
    out.insert(out.end(), begin, begin + size);
  };
  const int done =
      stbi_write_png_to_func(append, &file, static_cast<int>(width), static_cast<int>(height),
                             static_cast<int>(channels), pixels.data(), static_cast<int>(width * channels));
  require(done != 0 && !file.empty(), "cannot encode a PNG of {} x {}", width, height);
  return file;
}

}  // namespace dw
