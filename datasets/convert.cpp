// Writers: CIFAR binary, IDX and a folder of PNG.
#include "datasets/convert.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

#include "datasets/image_file.h"
#include "datasets/parallel.h"
#include "kernels/error.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

/// A folder being written; removed unless committed.
class AtomicFolder {
 public:
  explicit AtomicFolder(const fs::path& target) : target_(target) {
    if (target_.filename().empty()) target_ = target_.parent_path();
    std::error_code error;
    require(!fs::exists(target_, error) || (fs::is_directory(target_, error) && fs::is_empty(target_, error)),
            "{} exists and is not an empty folder", target_.string());
    temporary_ = target_;
    temporary_ += fmt::format(".{}.tmp", ::getpid());
    fs::remove_all(temporary_, error);
    require(fs::create_directories(temporary_, error), "cannot create {}: {}", target_.string(),
            error.message());
  }
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;
  ~AtomicFolder() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  }

  fs::path operator/(const fs::path& name) const { return temporary_ / name; }

  void commit() {
    // One sync of the file system instead of one of each of perhaps 60,000 files.
    const int descriptor = ::open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = descriptor >= 0 && ::syncfs(descriptor) == 0;
    const int sync_error = errno;
    if (descriptor >= 0) ::close(descriptor);
    require(synced, "cannot write {}: {}", target_.string(), std::strerror(sync_error));
    std::error_code error;
    fs::rename(temporary_, target_, error);
    require(!error, "cannot create {}: {}", target_.string(), error.message());
    temporary_.clear();
  }

 private:
  fs::path target_;
  fs::path temporary_;
};

/// A file inside an AtomicFolder, which does the syncing.
void write_plain_file(const fs::path& path, std::span<const uint8_t> bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  require(!file.fail(), "cannot write {}: {}", path.string(), std::strerror(errno));
}

void write_lines(const fs::path& path, const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  write_plain_file(path, std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

/// Records of samples [first, last).
std::vector<uint8_t> cifar_records(const ImageSet& set, int64_t first, int64_t last, CifarFlavour flavour) {
  constexpr int64_t classes_of_a_coarse_class = 5;
  const auto plane = static_cast<size_t>(set.height * set.width);
  std::vector<uint8_t> image(3 * plane);
  std::vector<uint8_t> records;
  records.reserve(static_cast<size_t>(last - first) * (image.size() + 2));
  for (int64_t i = first; i < last; ++i) {
    set.read(i, image);
    const int64_t label = set.labels[static_cast<size_t>(i)];
    if (flavour == CifarFlavour::cifar100)
      records.push_back(static_cast<uint8_t>(label / classes_of_a_coarse_class));
    records.push_back(static_cast<uint8_t>(label));
    for (size_t c = 0; c < 3; ++c)
      for (size_t p = 0; p < plane; ++p) records.push_back(image[p * 3 + c]);
  }
  return records;
}

void append_word(std::vector<uint8_t>& bytes, uint32_t word) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(word >> shift));
}

std::vector<uint8_t> idx_header(std::initializer_list<int64_t> shape) {
  constexpr uint32_t unsigned_bytes = 0x0800;
  std::vector<uint8_t> bytes;
  append_word(bytes, unsigned_bytes | static_cast<uint32_t>(shape.size()));
  for (const int64_t size : shape) append_word(bytes, static_cast<uint32_t>(size));
  return bytes;
}

std::vector<uint8_t> gzip(const std::vector<uint8_t>& bytes) {
  constexpr int with_gzip_header = 16, memory_level = 8;
  z_stream deflater{};
  require(deflateInit2(&deflater, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + with_gzip_header,
                       memory_level, Z_DEFAULT_STRATEGY) == Z_OK,
          "cannot start zlib");
  std::vector<uint8_t> out(deflateBound(&deflater, bytes.size()));
  deflater.next_in = const_cast<Bytef*>(bytes.data());
  deflater.next_out = out.data();
  size_t in_left = bytes.size(), out_left = out.size();
  constexpr size_t most = size_t{1} << 30;  // zlib counts in 32 bits
  int status = Z_OK;
  while (status == Z_OK) {
    const size_t in_now = std::min(in_left, most), out_now = std::min(out_left, most);
    deflater.avail_in = static_cast<uInt>(in_now);
    deflater.avail_out = static_cast<uInt>(out_now);
    status = deflate(&deflater, in_now == in_left ? Z_FINISH : Z_NO_FLUSH);
    in_left -= in_now - deflater.avail_in;
    out_left -= out_now - deflater.avail_out;
  }
  deflateEnd(&deflater);
  require(status == Z_STREAM_END, "cannot compress {} bytes", bytes.size());
  out.resize(out.size() - out_left);
  return out;
}

}  // namespace

void write_cifar(const Dataset& dataset, const fs::path& folder, CifarFlavour flavour) {
  constexpr int64_t records_per_batch = 10'000;
  const ImageSet& train = dataset.train;
  const size_t most = flavour == CifarFlavour::cifar10 ? 10 : 100;
  require(train.height == 32 && train.width == 32 && train.channels == 3,
          "CIFAR files hold 32 x 32 RGB pictures, {} has {} x {} {}", dataset.name, train.width, train.height,
          train.channels == 1 ? "grey" : "RGB");
  require(train.classes.size() <= most, "CIFAR-{} files hold at most {} classes, {} has {}", most, most,
          dataset.name, train.classes.size());
  AtomicFolder out(folder);
  const auto write = [&](const ImageSet& set, int64_t first, int64_t last, const std::string& name) {
    write_plain_file(out / name, cifar_records(set, first, last, flavour));
  };
  if (flavour == CifarFlavour::cifar10) {
    for (int64_t first = 0, number = 1; first < train.size(); first += records_per_batch, ++number)
      write(train, first, std::min(first + records_per_batch, train.size()),
            fmt::format("data_batch_{}.bin", number));
    write(dataset.test, 0, dataset.test.size(), "test_batch.bin");
    write_lines(out / "batches.meta.txt", train.classes);
  } else {
    write(train, 0, train.size(), "train.bin");
    write(dataset.test, 0, dataset.test.size(), "test.bin");
    write_lines(out / "fine_label_names.txt", train.classes);
  }
  out.commit();
}

void write_idx(const Dataset& dataset, const fs::path& folder, bool compress) {
  constexpr size_t most_classes = 256;
  require(dataset.train.channels == 1, "IDX files hold grey pictures, {} has RGB", dataset.name);
  require(dataset.train.classes.size() <= most_classes, "IDX files hold at most {} classes, {} has {}",
          most_classes, dataset.name, dataset.train.classes.size());
  AtomicFolder out(folder);
  const auto write = [&](const std::string& name, const std::vector<uint8_t>& bytes) {
    write_plain_file(out / (compress ? name + ".gz" : name), compress ? gzip(bytes) : bytes);
  };
  for (const bool training : {true, false}) {
    const ImageSet& set = training ? dataset.train : dataset.test;
    const std::string prefix = training ? "train" : "t10k";
    auto images = idx_header({set.size(), set.height, set.width});
    const size_t header = images.size();
    const auto bytes = static_cast<size_t>(set.image_bytes());
    images.resize(header + static_cast<size_t>(set.size()) * bytes);
    for (int64_t i = 0; i < set.size(); ++i)
      set.read(i, std::span(images).subspan(header + static_cast<size_t>(i) * bytes, bytes));
    write(prefix + "-images-idx3-ubyte", images);
    auto labels = idx_header({set.size()});
    for (const int64_t label : set.labels) labels.push_back(static_cast<uint8_t>(label));
    write(prefix + "-labels-idx1-ubyte", labels);
  }
  out.commit();
}

void write_folder(const Dataset& dataset, const fs::path& folder, const ProgressCallback& progress) {
  for (const auto& name : dataset.train.classes)
    require(!name.empty() && !name.starts_with('.') && name.find('/') == std::string::npos,
            "class name \"{}\" cannot be the name of a folder", name);
  const std::set<std::string> names(dataset.train.classes.begin(), dataset.train.classes.end());
  require(names.size() == dataset.train.classes.size(), "{}: two classes have the same name", dataset.name);
  AtomicFolder out(folder);
  const int64_t total = dataset.train.size() + dataset.test.size();
  int64_t before = 0;
  for (const bool training : {true, false}) {
    const ImageSet& set = training ? dataset.train : dataset.test;
    const fs::path split = out / (training ? "train" : "test");
    for (const auto& name : set.classes) fs::create_directories(split / name);
    std::vector<int64_t> next(set.classes.size());
    std::vector<int64_t> number;
    for (const int64_t label : set.labels) number.push_back(next[static_cast<size_t>(label)]++);
    ProgressCallback part;
    if (progress) part = [&](int64_t done, int64_t) { progress(before + done, total); };
    for_each_image(set.size(), part, [&](int64_t i) {
      const auto at = static_cast<size_t>(i);
      std::vector<uint8_t> image(static_cast<size_t>(set.image_bytes()));
      set.read(i, image);
      const auto file = encode_png(image, set.height, set.width, set.channels);
      write_plain_file(
          split / set.classes[static_cast<size_t>(set.labels[at])] / fmt::format("{:05}.png", number[at]),
          std::span(reinterpret_cast<const uint8_t*>(file.data()), file.size()));
    });
    before += set.size();
  }
  out.commit();
}

}  // namespace dw
