// Whole-file reading and crash-safe writing: a reader never sees a half-written file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dw {

/// The bytes of a file. Errors: missing, unreadable, not a regular file, larger than `limit` bytes.
std::vector<std::byte> read_file(const std::filesystem::path& path, size_t limit = size_t{1} << 40);

/// Same, as text.
std::string read_text_file(const std::filesystem::path& path, size_t limit = size_t{1} << 30);

/// A file being written: bytes go to a temporary beside `path`; commit() syncs and renames it into place.
/// Destroyed without commit (an exception, a full disk), it removes the temporary and leaves `path` as it
/// was. Folders of `path` that are missing are made.
class AtomicFile {
 public:
  enum class Existing { replace, refuse };

  /// `mode` is the permission of the finished file. With Existing::refuse, an existing `path` is an Error,
  /// also when it appears between construction and commit.
  explicit AtomicFile(std::filesystem::path path, unsigned mode = 0644,
                      Existing existing = Existing::replace);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  Existing existing_;
  int descriptor_ = -1;
};

/// Writes `text` through an AtomicFile.
void write_file_atomically(const std::filesystem::path& path, std::string_view text, unsigned mode = 0644,
                           AtomicFile::Existing existing = AtomicFile::Existing::replace);

}  // namespace dw
