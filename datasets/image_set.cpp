// Statistics, digest and checks shared by every reader.
#include "datasets/image_set.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <tuple>

#include "datasets/image_file.h"
#include "datasets/parallel.h"
#include "kernels/error.h"

namespace dw {
namespace {

/// FNV-1a's offset and prime, on 64-bit little-endian words with the high half folded back after each step,
/// so that every input bit reaches every output bit. The last word is padded with zeros.
class Hash {
 public:
  void add(uint64_t word) {
    state_ = (state_ ^ word) * 0x100000001b3ULL;
    state_ ^= state_ >> 32;
  }
  void add(std::span<const uint8_t> bytes) {
    size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) add(load(bytes.subspan(at, 8)));
    if (at < bytes.size()) add(load(bytes.subspan(at)));
  }
  void add(const std::string& text) {
    add(text.size());
    add(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  }
  uint64_t value() const { return state_; }

 private:
  static uint64_t load(std::span<const uint8_t> bytes) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), bytes.size());
    return word;
  }
  uint64_t state_ = 0xcbf29ce484222325ULL;
};

struct Sums {
  std::array<uint64_t, 3> value{};
  std::array<uint64_t, 3> square{};
};

template <int64_t channels>
void add_image(std::span<const uint8_t> image, Sums& sums) {
  std::array<uint64_t, channels> value{};
  std::array<uint64_t, channels> square{};
  for (size_t i = 0; i + channels <= image.size(); i += channels)
    for (size_t c = 0; c < channels; ++c) {
      const uint32_t x = image[i + c];
      value[c] += x;
      square[c] += x * x;
    }
  for (size_t c = 0; c < channels; ++c) {
    sums.value[c] += value[c];
    sums.square[c] += square[c];
  }
}

/// Visits every picture once: adds it to `sums` and to the hash of the set.
void scan(const ImageSet& set, const ProgressCallback& progress, Sums& sums, Hash& hash) {
  std::vector<uint64_t> image_hashes(set.labels.size());
  std::mutex mutex;
  for_each_image(set.size(), progress, [&](int64_t i) {
    thread_local std::vector<uint8_t> decoded;
    std::span<const uint8_t> image;
    if (set.is_held()) {
      image = set.held_image(i);
    } else {
      decoded.resize(static_cast<size_t>(set.image_bytes()));
      set.read(i, decoded);
      image = decoded;
    }
    Hash image_hash;
    image_hash.add(image);
    image_hashes[static_cast<size_t>(i)] = image_hash.value();
    Sums own;
    set.channels == 1 ? add_image<1>(image, own) : add_image<3>(image, own);
    const std::lock_guard lock(mutex);
    for (size_t c = 0; c < 3; ++c) {
      sums.value[c] += own.value[c];
      sums.square[c] += own.square[c];
    }
  });
  for (const int64_t number : {set.size(), set.height, set.width, set.channels})
    hash.add(static_cast<uint64_t>(number));
  for (const auto& name : set.classes) hash.add(name);
  for (const int64_t label : set.labels) hash.add(static_cast<uint64_t>(label));
  for (const uint64_t image_hash : image_hashes) hash.add(image_hash);
}

ChannelStatistics statistics_from(const Sums& sums, const ImageSet& set) {
  ChannelStatistics result;
  const auto count = static_cast<double>(set.size() * set.height * set.width);
  for (size_t c = 0; c < 3; ++c) {
    const size_t from = c < static_cast<size_t>(set.channels) ? c : 0;
    const double mean = static_cast<double>(sums.value[from]) / count;
    const double variance = static_cast<double>(sums.square[from]) / count - mean * mean;
    result.mean[c] = static_cast<float>(mean / 255);
    // A channel that never varies is divided by 1 so that it normalises to zero instead of to NaN.
    result.deviation[c] = variance > 1e-9 ? static_cast<float>(std::sqrt(variance) / 255) : 1.0F;
  }
  return result;
}

void check(const Dataset& dataset) {
  const ImageSet& train = dataset.train;
  const ImageSet& test = dataset.test;
  for (const ImageSet* set : {&train, &test}) {
    require(set->size() > 0, "{}: no pictures", set->name);
    require(set->channels == 1 || set->channels == 3, "{}: expected 1 or 3 channels, found {}", set->name,
            set->channels);
    require(!set->is_held() || static_cast<int64_t>(set->pixels.size()) == set->size() * set->image_bytes(),
            "{}: {} labels for {} bytes of pictures of {} bytes each", set->name, set->size(),
            set->pixels.size(), set->image_bytes());
    const auto classes = static_cast<int64_t>(set->classes.size());
    for (int64_t i = 0; i < set->size(); ++i) {
      const int64_t label = set->labels[static_cast<size_t>(i)];
      require(label >= 0 && label < classes, "{}: label {} of sample {} is outside [0, {})", set->name, label,
              i, classes);
    }
  }
  require(train.classes == test.classes, "{}: train has {} classes, test has {}, and they must be the same",
          dataset.name, train.classes.size(), test.classes.size());
  require(
      std::tie(train.height, train.width, train.channels) == std::tie(test.height, test.width, test.channels),
      "{}: training pictures are {} x {} x {}, test pictures {} x {} x {}", dataset.name, train.height,
      train.width, train.channels, test.height, test.width, test.channels);
  const std::set<int64_t> present(train.labels.begin(), train.labels.end());
  require(present.size() >= 2, "{}: training needs at least two classes, found only \"{}\"", dataset.name,
          train.classes[static_cast<size_t>(*present.begin())]);
}

/// A part of a set that is decoded on demand.
class SubsetSource : public ImageSource {
 public:
  SubsetSource(std::shared_ptr<const ImageSource> source, std::span<const int64_t> indices)
      : source_(std::move(source)), indices_(indices.begin(), indices.end()) {}
  void read(int64_t index, std::span<uint8_t> out) const override {
    source_->read(indices_[static_cast<size_t>(index)], out);
  }

 private:
  std::shared_ptr<const ImageSource> source_;
  std::vector<int64_t> indices_;
};

}  // namespace

void ImageSet::read(int64_t index, std::span<uint8_t> out) const {
  if (is_held())
    std::ranges::copy(held_image(index), out.begin());
  else
    source->read(index, out);
}

void finish_dataset(Dataset& dataset, const ProgressCallback& progress) {
  check(dataset);
  Sums train_sums, test_sums;
  Hash hash;
  const int64_t total = dataset.train.size() + dataset.test.size();
  const auto part = [&](int64_t before) -> ProgressCallback {
    if (!progress) return {};
    return [&progress, before, total](int64_t done, int64_t) { progress(before + done, total); };
  };
  scan(dataset.train, part(0), train_sums, hash);
  scan(dataset.test, part(dataset.train.size()), test_sums, hash);
  dataset.statistics = statistics_from(train_sums, dataset.train);
  dataset.digest = fmt::format("{:016x}", hash.value());
}

ImageSet subset(const ImageSet& set, std::span<const int64_t> indices) {
  ImageSet result;
  result.name = set.name;
  result.height = set.height;
  result.width = set.width;
  result.channels = set.channels;
  result.classes = set.classes;
  result.labels.reserve(indices.size());
  for (const int64_t index : indices) result.labels.push_back(set.labels[static_cast<size_t>(index)]);
  if (!set.is_held()) {
    result.source = std::make_shared<SubsetSource>(set.source, indices);
    return result;
  }
  result.pixels.reserve(indices.size() * static_cast<size_t>(set.image_bytes()));
  for (const int64_t index : indices) {
    const auto image = set.held_image(index);
    result.pixels.insert(result.pixels.end(), image.begin(), image.end());
  }
  return result;
}

std::vector<int64_t> balanced_indices(std::span<const int64_t> labels, int64_t limit) {
  const auto size = static_cast<int64_t>(labels.size());
  std::vector<int64_t> indices(labels.size());
  for (int64_t i = 0; i < size; ++i) indices[static_cast<size_t>(i)] = i;
  if (limit <= 0 || limit >= size) return indices;
  // Sorted by rank within the class and then by class, the first `limit` are as balanced as can be.
  std::vector<int64_t> seen;
  std::vector<int64_t> rank(labels.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto label = static_cast<size_t>(labels[i]);
    if (label >= seen.size()) seen.resize(label + 1);
    rank[i] = seen[label]++;
  }
  std::ranges::sort(indices, {}, [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    return std::pair(rank[at], labels[at]);
  });
  indices.resize(static_cast<size_t>(limit));
  std::ranges::sort(indices);
  return indices;
}

ImageSet resized(const ImageSet& set, int64_t height, int64_t width) {
  require(set.is_held(), "{}: only sets held in memory can be resized", set.name);
  ImageSet result;
  result.name = set.name;
  result.height = height;
  result.width = width;
  result.channels = set.channels;
  result.classes = set.classes;
  result.labels = set.labels;
  result.pixels.resize(static_cast<size_t>(set.size() * result.image_bytes()));
  const auto bytes = static_cast<size_t>(result.image_bytes());
  for_each_image(set.size(), {}, [&](int64_t i) {
    resize_image(set.held_image(i), set.height, set.width,
                 std::span(result.pixels).subspan(static_cast<size_t>(i) * bytes, bytes), height, width,
                 set.channels);
  });
  return result;
}

}  // namespace dw
