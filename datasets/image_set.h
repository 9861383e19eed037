// Labelled pictures: what every reader produces and what the loader, the converters and the trainer consume.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace dw {

/// Called from the calling thread only, now and then, with what is done of how much. May throw to abort.
using ProgressCallback = std::function<void(int64_t done, int64_t total)>;

/// Pictures that do not fit in memory, decoded on demand. Thread-safe.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  /// Writes picture `index` (height · width · channels bytes, NHWC order) to `out`.
  virtual void read(int64_t index, std::span<uint8_t> out) const = 0;
};

/// Pictures of one size with their labels.
struct ImageSet {
  std::string name;  ///< where it came from, for people
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;                       ///< 1 (grey) or 3 (RGB)
  std::vector<uint8_t> pixels;                ///< [size, height, width, channels]; empty when `source` is set
  std::shared_ptr<const ImageSource> source;  ///< decodes on demand when the set is too large to hold
  std::vector<int64_t> labels;                ///< [size], each in [0, classes.size())
  std::vector<std::string> classes;           ///< name of every label

  int64_t size() const { return static_cast<int64_t>(labels.size()); }
  int64_t image_bytes() const { return height * width * channels; }
  bool is_held() const { return source == nullptr; }

  /// Bytes of picture `index`. REQUIRES: is_held().
  std::span<const uint8_t> held_image(int64_t index) const {
    return std::span(pixels).subspan(static_cast<size_t>(index * image_bytes()),
                                     static_cast<size_t>(image_bytes()));
  }
  /// Copies or decodes picture `index` into `out` (image_bytes() long). Thread-safe.
  void read(int64_t index, std::span<uint8_t> out) const;
};

/// Per-channel mean and standard deviation of pixel values scaled to [0, 1], from exact integer sums: they do
/// not depend on order or threads. Entries past `channels` repeat the first.
struct ChannelStatistics {
  std::array<float, 3> mean{};
  std::array<float, 3> deviation{};
};

struct Dataset {
  std::string name;
  ImageSet train;
  ImageSet test;
  ChannelStatistics statistics;  ///< of `train`
  /// 64-bit content hash of both splits, 16 hexadecimal digits: sizes, class names, labels and pixels in
  /// order. Equal whatever the file format; made for noticing changed data on resume, not against an
  /// adversary.
  std::string digest;
};

/// Fills `statistics` and `digest` in one pass over the pictures and checks what every data set must satisfy:
/// both splits non-empty, same geometry and class names, labels in range, at least two classes present in
/// `train`. Errors name the data set.
void finish_dataset(Dataset& dataset, const ProgressCallback& progress = {});

/// The samples named by `indices`, in that order.
ImageSet subset(const ImageSet& set, std::span<const int64_t> indices);

/// Indices of at most `limit` samples, as many of each class as possible, the first ones of each class, in
/// their original order. 0: all.
std::vector<int64_t> balanced_indices(std::span<const int64_t> labels, int64_t limit);

/// The set with every picture resized to height × width (antialiased bilinear). Held sets only.
ImageSet resized(const ImageSet& set, int64_t height, int64_t width);

}  // namespace dw
