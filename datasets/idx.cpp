// IDX files (LeCun's MNIST format), plain or gzip: big-endian magic and dimensions, then bytes.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/files.h"
#include "datasets/readers.h"
#include "kernels/error.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

constexpr int64_t max_side = 1 << 14;
constexpr size_t test_every = 5;  // of a lone pair, one sample in five is for testing

struct Pair {
  fs::path images;
  fs::path labels;
};

/// A file's bytes in order, inflated on the way when it is gzip.
class ByteStream {
 public:
  explicit ByteStream(const fs::path& path) : path_(path.string()), bytes_(read_file(path)) {
    require(!bytes_.empty(), "{} is empty, expected an IDX file", path_);
    compressed_ = bytes_.size() >= 2 && bytes_[0] == std::byte{0x1f} && bytes_[1] == std::byte{0x8b};
    if (!compressed_) return;
    constexpr int gzip_only = 16;
    require(inflateInit2(&inflater_, MAX_WBITS + gzip_only) == Z_OK, "{}: cannot start zlib", path_);
  }
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;
  ~ByteStream() {
    if (compressed_) inflateEnd(&inflater_);
  }

  /// The most bytes this file can still hold: what to allow before allocating for a claimed size.
  uint64_t bound() const {
    constexpr uint64_t best_deflate_ratio = 1032;
    return compressed_ ? bytes_.size() * best_deflate_ratio : bytes_.size() - position_;
  }

  void read(std::span<uint8_t> out) {
    if (!compressed_) {
      require(out.size() <= bytes_.size() - position_, "{} is truncated: needs {} bytes, has {}", path_,
              position_ + out.size(), bytes_.size());
      std::transform(bytes_.begin() + static_cast<std::ptrdiff_t>(position_),
                     bytes_.begin() + static_cast<std::ptrdiff_t>(position_ + out.size()), out.begin(),
                     [](std::byte value) { return std::to_integer<uint8_t>(value); });
      position_ += out.size();
      return;
    }
    require(inflate_into(out) == out.size(), "{} is truncated: its gzip content ends {} bytes too early",
            path_, inflater_.avail_out);
  }

  /// Errors where bytes are left, or where gzip's checksum does not match.
  void expect_end() {
    if (!compressed_) {
      require(position_ == bytes_.size(), "{} has {} bytes, expected {} from its header", path_,
              bytes_.size(), position_);
      return;
    }
    std::array<uint8_t, 1> extra{};
    require(inflate_into(extra) == 0, "{} holds more bytes than its header says", path_);
    require(ended_, "{} is truncated: its gzip stream does not end", path_);
  }

 private:
  size_t inflate_into(std::span<uint8_t> out) {
    constexpr size_t most = size_t{1} << 30;  // zlib counts in 32 bits
    size_t written = 0;
    while (written < out.size() && !ended_) {
      const size_t in_count = std::min(bytes_.size() - position_, most);
      const size_t out_count = std::min(out.size() - written, most);
      inflater_.next_in = reinterpret_cast<Bytef*>(bytes_.data() + position_);
      inflater_.avail_in = static_cast<uInt>(in_count);
      inflater_.next_out = out.data() + written;
      inflater_.avail_out = static_cast<uInt>(out_count);
      const int status = inflate(&inflater_, Z_NO_FLUSH);
      require(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR,
              "{} is corrupt gzip at byte {}: {}", path_, position_,
              inflater_.msg != nullptr ? inflater_.msg : "inflate failed");
      const size_t consumed = in_count - inflater_.avail_in;
      const size_t produced = out_count - inflater_.avail_out;
      position_ += consumed;
      written += produced;
      ended_ = status == Z_STREAM_END;
      if (consumed == 0 && produced == 0 && !ended_) break;
    }
    return written;
  }

  std::string path_;
  std::vector<std::byte> bytes_;
  size_t position_ = 0;
  bool compressed_ = false;
  bool ended_ = false;
  z_stream inflater_{};
};

uint32_t read_word(ByteStream& stream) {
  std::array<uint8_t, 4> bytes{};
  stream.read(bytes);
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

/// Reads the header of `rank` dimensions and leaves the stream at the data.
std::array<int64_t, 3> read_header(ByteStream& stream, const fs::path& path, uint32_t rank) {
  constexpr uint32_t unsigned_bytes = 0x0800;
  const uint32_t magic = read_word(stream);
  require(magic == (unsigned_bytes | rank),
          "{}: magic number {:#010x}, expected {:#010x} (unsigned bytes, rank {})", path.string(), magic,
          unsigned_bytes | rank, rank);
  std::array<int64_t, 3> shape{0, 1, 1};
  for (uint32_t d = 0; d < rank; ++d) shape[d] = read_word(stream);
  require(shape[1] > 0 && shape[2] > 0 && shape[1] <= max_side && shape[2] <= max_side,
          "{}: pictures of {} x {}, expected 1 to {} pixels a side", path.string(), shape[1], shape[2],
          max_side);
  const auto claimed = static_cast<uint64_t>(shape[0]) * static_cast<uint64_t>(shape[1] * shape[2]);
  require(claimed <= stream.bound(),
          "{} is truncated: its header claims {} x {} x {} bytes, at most {} can follow", path.string(),
          shape[0], shape[1], shape[2], stream.bound());
  return shape;
}

ImageSet read_pair(const Pair& pair) {
  ByteStream images(pair.images);
  ImageSet set;
  set.name = pair.images.string();
  const auto shape = read_header(images, pair.images, 3);
  set.height = shape[1];
  set.width = shape[2];
  set.channels = 1;
  set.pixels.resize(static_cast<size_t>(shape[0] * shape[1] * shape[2]));
  images.read(set.pixels);
  images.expect_end();

  ByteStream labels(pair.labels);
  const auto count = read_header(labels, pair.labels, 1);
  require(count[0] == shape[0], "{} has {} pictures but {} has {} labels", pair.images.string(), shape[0],
          pair.labels.string(), count[0]);
  std::vector<uint8_t> values(static_cast<size_t>(count[0]));
  labels.read(values);
  labels.expect_end();
  set.labels.assign(values.begin(), values.end());
  return set;
}

/// "x-images-idx3-ubyte.gz" → the position of "images" when the name is that of an image file.
std::optional<size_t> images_position(const std::string& name) {
  for (const std::string_view suffix :
       {"images-idx3-ubyte", "images.idx3-ubyte", "images-idx3-ubyte.gz", "images.idx3-ubyte.gz"})
    if (name.ends_with(suffix)) return name.size() - suffix.size();
  return std::nullopt;
}

struct Found {
  std::string stem;  ///< what stands before "images", without its separator
  Pair pair;
};

/// Image files in `folder` whose names start with `prefix`, sorted, with the label file that belongs to each.
std::vector<Found> find_pairs(const fs::path& folder, const std::string& prefix) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(prefix) && images_position(name)) names.push_back(name);
  }
  std::ranges::sort(names);
  std::vector<Found> found;
  for (const auto& name : names) {
    const size_t at = *images_position(name);
    std::string labels = name;
    labels.replace(at, std::string_view("images").size(), "labels");
    labels.replace(labels.find("idx3", at), 4, "idx1");
    const std::string plain = labels.ends_with(".gz") ? labels.substr(0, labels.size() - 3) : labels;
    const bool compressed = !fs::exists(folder / plain);
    std::string stem = name.substr(0, at);
    while (stem.ends_with('-') || stem.ends_with('_') || stem.ends_with('.')) stem.pop_back();
    // "x-images" and "x-images.gz" side by side are one pair.
    if (!found.empty() && found.back().stem == stem) continue;
    found.push_back({stem, {folder / name, folder / (compressed ? plain + ".gz" : plain)}});
  }
  return found;
}

std::vector<Found> find_pairs(const std::string& spec) {
  std::error_code error;
  if (fs::is_directory(spec, error)) return find_pairs(spec, "");
  const fs::path prefix(spec);
  return find_pairs(prefix.has_parent_path() ? prefix.parent_path() : fs::path("."),
                    prefix.filename().string());
}

std::optional<Pair> named_pair(const std::string& spec) {
  const size_t comma = spec.find(',');
  if (comma == std::string::npos) return std::nullopt;
  return Pair{spec.substr(0, comma), spec.substr(comma + 1)};
}

Dataset split_lone_pair(const Pair& pair) {
  const ImageSet all = read_pair(pair);
  std::vector<int64_t> train, test;
  for (int64_t i = 0; i < all.size(); ++i)
    (static_cast<size_t>(i) % test_every == test_every - 1 ? test : train).push_back(i);
  return {.name = {}, .train = subset(all, train), .test = subset(all, test), .statistics = {}, .digest = {}};
}

}  // namespace

bool is_idx(const std::string& spec) {
  return named_pair(spec) || !find_pairs(spec).empty();
}

Dataset read_idx(const std::string& spec, const LoadOptions&) {
  Dataset dataset;
  if (const auto pair = named_pair(spec)) {
    dataset = split_lone_pair(*pair);
  } else {
    const auto found = find_pairs(spec);
    if (found.size() == 1) {
      dataset = split_lone_pair(found.front().pair);
    } else {
      const Found *train = nullptr, *test = nullptr;
      for (const auto& entry : found) {
        if (entry.stem.ends_with("train")) train = &entry;
        if (entry.stem.ends_with("test") || entry.stem.ends_with("t10k")) test = &entry;
      }
      require(found.size() == 2 && train != nullptr && test != nullptr,
              "{}: expected one *train-images-idx3-ubyte and one *t10k- or *test-images-idx3-ubyte, found {} "
              "image "
              "files, the first {}",
              spec, found.size(), found.front().pair.images.string());
      dataset.train = read_pair(train->pair);
      dataset.test = read_pair(test->pair);
    }
  }
  dataset.name = fs::path(spec.substr(0, spec.find(','))).filename().string();
  int64_t most = 0;
  for (const ImageSet* set : {&dataset.train, &dataset.test})
    for (const int64_t label : set->labels) most = std::max(most, label);
  for (int64_t label = 0; label <= most; ++label) dataset.train.classes.push_back(std::to_string(label));
  dataset.test.classes = dataset.train.classes;
  return dataset;
}

}  // namespace dw
