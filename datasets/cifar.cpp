// CIFAR-10 and CIFAR-100 in their binary form (Krizhevsky 2009): records of label bytes and 3 × 32 × 32
// planar RGB bytes.
#include <algorithm>
#include <charconv>
#include <sstream>

#include "core/files.h"
#include "datasets/readers.h"
#include "kernels/error.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

constexpr int64_t side = 32;
constexpr size_t plane_bytes = side * side;
constexpr size_t image_bytes = 3 * plane_bytes;

struct Flavour {
  size_t label_bytes;  ///< the last one is the label, CIFAR-100's first is the coarse one
  int64_t most_classes;
  std::string_view names_file;
};
constexpr Flavour cifar10{1, 10, "batches.meta.txt"};
constexpr Flavour cifar100{2, 100, "fine_label_names.txt"};

ImageSet empty_set(const std::string& name, const std::vector<std::string>& classes) {
  ImageSet set;
  set.name = name;
  set.height = set.width = side;
  set.channels = 3;
  set.classes = classes;
  return set;
}

std::vector<std::string> class_names(const fs::path& folder, const Flavour& flavour) {
  const fs::path path = folder / flavour.names_file;
  std::vector<std::string> names;
  if (fs::exists(path)) {
    std::istringstream lines(read_text_file(path, 1 << 20));
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty()) names.push_back(line);
    }
    require(!names.empty() && static_cast<int64_t>(names.size()) <= flavour.most_classes,
            "{} names {} classes, expected 1 to {}", path.string(), names.size(), flavour.most_classes);
  } else {
    for (int64_t i = 0; i < flavour.most_classes; ++i) names.push_back(std::to_string(i));
  }
  return names;
}

void append_records(const fs::path& path, const Flavour& flavour, ImageSet& set) {
  const auto bytes = read_file(path);
  const size_t record = flavour.label_bytes + image_bytes;
  require(!bytes.empty() && bytes.size() % record == 0,
          "{} has {} bytes, expected a whole number of records of {} bytes", path.string(), bytes.size(),
          record);
  const size_t count = bytes.size() / record;
  const size_t start = set.pixels.size();
  set.pixels.resize(start + count * image_bytes);
  for (size_t i = 0; i < count; ++i) {
    const std::byte* in = bytes.data() + i * record + flavour.label_bytes;
    const auto label = std::to_integer<int64_t>(in[-1]);
    require(label < static_cast<int64_t>(set.classes.size()),
            "{}: record {} has label {}, expected less than {}", path.string(), i, label, set.classes.size());
    set.labels.push_back(label);
    uint8_t* out = set.pixels.data() + start + i * image_bytes;
    for (size_t p = 0; p < plane_bytes; ++p)
      for (size_t c = 0; c < 3; ++c) out[p * 3 + c] = std::to_integer<uint8_t>(in[c * plane_bytes + p]);
  }
}

/// data_batch_*.bin by number.
std::vector<fs::path> training_batches(const fs::path& folder) {
  std::vector<std::pair<int, fs::path>> batches;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with("data_batch_") || !name.ends_with(".bin")) continue;
    int number = 0;
    std::from_chars(name.data() + std::string_view("data_batch_").size(), name.data() + name.size(), number);
    batches.emplace_back(number, entry->path());
  }
  std::ranges::sort(batches);
  std::vector<fs::path> paths;
  for (auto& [number, path] : batches) paths.push_back(std::move(path));
  return paths;
}

Dataset read_cifar(const std::string& spec, const Flavour& flavour, const std::vector<fs::path>& train_files,
                   const fs::path& test_file) {
  const fs::path folder(spec);
  const auto classes = class_names(folder, flavour);
  Dataset dataset;
  dataset.name =
      folder.filename().empty() ? folder.parent_path().filename().string() : folder.filename().string();
  dataset.train = empty_set(spec + " (train)", classes);
  dataset.test = empty_set(spec + " (test)", classes);
  for (const auto& path : train_files) append_records(path, flavour, dataset.train);
  append_records(test_file, flavour, dataset.test);
  return dataset;
}

}  // namespace

bool is_cifar10(const std::string& spec) {
  const fs::path folder(spec);
  return fs::exists(folder / "test_batch.bin") || !training_batches(folder).empty();
}

Dataset read_cifar10(const std::string& spec, const LoadOptions&) {
  const fs::path folder(spec);
  const auto batches = training_batches(folder);
  require(!batches.empty(), "{} has no data_batch_*.bin beside test_batch.bin", spec);
  return read_cifar(spec, cifar10, batches, folder / "test_batch.bin");
}

bool is_cifar100(const std::string& spec) {
  const fs::path folder(spec);
  return fs::is_regular_file(folder / "train.bin") || fs::is_regular_file(folder / "test.bin");
}

Dataset read_cifar100(const std::string& spec, const LoadOptions&) {
  const fs::path folder(spec);
  return read_cifar(spec, cifar100, {folder / "train.bin"}, folder / "test.bin");
}

}  // namespace dw
