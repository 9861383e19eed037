// What the data set tests share: a folder that removes itself, small files, and error messages as text.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "datasets/image_file.h"
#include "datasets/registry.h"
#include "kernels/error.h"

namespace dw::datasets_test {

namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "deepwater-datasets-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "cannot create {}", pattern);
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path operator/(const fs::path& name) const { return path_ / name; }
  const fs::path& path() const { return path_; }
  std::string string() const { return path_.string(); }

 private:
  fs::path path_;
};

inline void write_bytes(const fs::path& path, std::span<const std::byte> bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline void write_bytes(const fs::path& path, const std::vector<uint8_t>& bytes) {
  write_bytes(path, std::as_bytes(std::span(bytes)));
}

inline std::vector<std::byte> read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// A picture whose pixels differ from each other and from those of other seeds.
inline std::vector<uint8_t> pattern(int64_t height, int64_t width, int64_t channels, int seed) {
  std::vector<uint8_t> pixels(static_cast<size_t>(height * width * channels));
  for (size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<uint8_t>((i * 37 + static_cast<size_t>(seed) * 101 + i * i / 7) % 256);
  return pixels;
}

inline void write_png(const fs::path& path, int64_t height, int64_t width, int64_t channels, int seed) {
  write_bytes(path, encode_png(pattern(height, width, channels, seed), height, width, channels));
}

/// The message of the Error that `action` throws, "" when it throws none.
template <typename Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline std::string load_error(const std::string& spec) {
  return error_of([&] { load_dataset(spec); });
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A small class folder: `per_class` pictures of each of two classes in both splits.
inline void write_small_folder(const fs::path& folder, int per_class = 2) {
  int seed = 0;
  for (const char* split : {"train", "test"})
    for (const char* name : {"apple", "pear"})
      for (int i = 0; i < per_class; ++i)
        write_png(folder / split / name / (std::to_string(i) + ".png"), 6, 5, 3, seed++);
}

/// Where the real data sets are, or nothing after a message that names the test's need.
inline fs::path real_data(const std::string& name) {
  const char* folder = std::getenv("DEEPWATER_DATA");
  if (folder != nullptr && fs::exists(fs::path(folder) / name)) return fs::path(folder) / name;
  MESSAGE("skipped: needs DEEPWATER_DATA/" << name);
  return {};
}

}  // namespace dw::datasets_test
