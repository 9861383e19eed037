// The safetensors file format, without tensors: names, shapes, raw bytes. The verifier reads a suspect
// through this alone, and checkpoints are written through it. The bytes are described in docs/formats.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dw {

/// One stored array: row-major, little-endian. `bytes` is a view; whoever made it says how long it lives.
struct SafetensorsEntry {
  std::string dtype;  ///< as in the file: "F32", "F64", "F16", "BF16", "I64", "U8", ...
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Bytes of one element of a safetensors dtype; 0 for a name this program does not know.
size_t safetensors_element_size(std::string_view dtype);

/// Can read_f32() convert it? F32, F64, F16 and BF16.
bool is_floating(std::string_view dtype);

class FilePass;

/// The values of a floating-point array where they lie, in a file or in memory: read piece by piece,
/// converted. Of a file's, memory that was read is given back at once: reading a large file takes no more
/// than its pieces.
class FloatView {
 public:
  FloatView() = default;
  FloatView(std::span<const float> values) : FloatView("F32", std::as_bytes(values)) {}
  FloatView(const std::vector<float>& values) : FloatView(std::span<const float>(values)) {}
  /// `bytes` outlive the view. Error: a dtype that is not is_floating().
  FloatView(std::string_view dtype, std::span<const std::byte> bytes);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  /// Of the first byte, in its file; 0 in memory. Views read in this order read a file from front to back.
  size_t offset() const { return offset_; }
  /// Values `first`, `first` + 1, ... into `out`. Error: beyond the end.
  void read(size_t first, std::span<float> out) const;
  std::vector<float> all() const;

 private:
  std::string dtype_ = "F32";
  std::span<const std::byte> bytes_;
  size_t size_ = 0, offset_ = 0;
  bool mapped_ = false;
  FilePass* pass_ = nullptr;
  friend class SafetensorsFile;
};

/// A safetensors file, mapped read-only. Everything about the header is checked by open(): afterwards every
/// entry's bytes lie inside the file and are exactly as long as its shape says. The file must not be
/// truncated by others while it is open.
class SafetensorsFile {
 public:
  /// Errors: missing, truncated, malformed or contradictory files, with offsets and sizes.
  static SafetensorsFile open(const std::filesystem::path& path);

  SafetensorsFile(SafetensorsFile&&) = default;
  SafetensorsFile& operator=(SafetensorsFile&&) = default;

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Spans stay valid while this object, or the one it was moved into, lives.
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  /// Error: no such entry (tells what is there).
  const SafetensorsEntry& at(const std::string& name) const;
  /// The values of a floating entry (F32, F64, F16, BF16), converted; the view lives as long as the entries,
  /// and takes `pass` along, which outlives it.
  FloatView floats(const std::string& name, FilePass* pass = nullptr) const;
  std::vector<float> read_f32(const std::string& name) const { return floats(name).all(); }
  std::vector<double> read_f64(const std::string& name) const;
  /// The whole file, for digests.
  std::span<const std::byte> bytes() const { return {mapping_.get(), size_}; }

 private:
  SafetensorsFile() = default;
  void parse();

  struct Unmap {
    size_t size;
    void operator()(const std::byte* address) const;
  };
  std::filesystem::path path_;
  std::unique_ptr<const std::byte, Unmap> mapping_;
  size_t size_ = 0;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, SafetensorsEntry> entries_;
};

/// One pass over a whole file, for its digest, that those who read its values take along: what they are about
/// to read is visited first, with all before it, so that a file read from front to back is read once.
class FilePass {
 public:
  /// `file` outlives the pass. `visit` is given every byte once, in order, in pieces.
  FilePass(const SafetensorsFile& file, std::function<void(std::span<const std::byte>)> visit)
      : bytes_(file.bytes()), visit_(std::move(visit)) {}
  FilePass(const FilePass&) = delete;
  FilePass& operator=(const FilePass&) = delete;

  /// Bytes [begin, end) will be read now. Safe to call from several threads.
  void reach(size_t begin, size_t end);
  /// The rest of the file.
  void finish() { reach(bytes_.size(), bytes_.size()); }

 private:
  std::span<const std::byte> advance(size_t end);

  std::span<const std::byte> bytes_;
  std::function<void(std::span<const std::byte>)> visit_;
  std::mutex mutex_;
  size_t position_ = 0;
};

/// Writes a file atomically; equal arguments give equal bytes. Errors: an entry whose bytes do not fit its
/// shape and dtype, a name that is not UTF-8 or is "__metadata__", and those of AtomicFile.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata,
                       const std::map<std::string, SafetensorsEntry>& entries);

}  // namespace dw
