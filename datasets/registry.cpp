// The table of readers.
#include "datasets/registry.h"

#include <algorithm>
#include <array>

#include "core/files.h"
#include "datasets/image_file.h"
#include "kernels/error.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

constexpr std::array<DatasetReader, 5> table{{
    {"synthetic", "synthetic[:train=N,test=N,seed=N]", is_synthetic, read_synthetic},
    {"folder", "FOLDER/train/CLASS/*.jpg and FOLDER/test/CLASS/*.jpg (or .png, .bmp)", is_class_folder,
     read_class_folder},
    {"cifar10", "FOLDER/data_batch_*.bin and FOLDER/test_batch.bin", is_cifar10, read_cifar10},
    {"cifar100", "FOLDER/train.bin and FOLDER/test.bin", is_cifar100, read_cifar100},
    {"idx", "FOLDER/*-images-idx3-ubyte[.gz] and *-labels-idx1-ubyte[.gz], their prefix, or IMAGES,LABELS",
     is_idx, read_idx},
}};

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const auto& part : parts) text.append(text.empty() ? "" : separator).append(part);
  return text;
}

/// What a person would see in the folder, the first few names.
std::string contents(const fs::path& folder) {
  constexpr size_t shown = 6;
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    names.push_back(entry->path().filename().string());
  if (error) return error.message();
  if (names.empty()) return "nothing";
  std::ranges::sort(names);
  const size_t count = names.size();
  names.resize(std::min(count, shown));
  return fmt::format("{}{}", join(names, ", "),
                     count > shown ? fmt::format(" and {} more", count - shown) : std::string());
}

[[noreturn]] void fail_unrecognised(const std::string& spec) {
  std::error_code error;
  require(fs::exists(spec, error), "data \"{}\" does not exist; expected a folder or file, or \"synthetic\"",
          spec);
  std::vector<std::string> expected;
  for (const DatasetReader& reader : table)
    if (reader.name != "synthetic") expected.push_back(fmt::format("{} ({})", reader.name, reader.expects));
  fail("\"{}\" is not a data set: looked for {}; found {}", spec, join(expected, ", "),
       fs::is_directory(spec, error) ? contents(spec) : "a single file");
}

void apply_limit(ImageSet& set, int64_t limit) {
  if (limit > 0 && limit < set.size()) set = subset(set, balanced_indices(set.labels, limit));
}

void apply_size(ImageSet& set, int64_t size) {
  if (size > 0 && (set.height != size || set.width != size)) set = resized(set, size, size);
}

}  // namespace

std::span<const DatasetReader> dataset_readers() {
  return table;
}

Dataset load_dataset(const std::string& spec, const LoadOptions& options) {
  constexpr int64_t max_size = 4096;
  if (options.image_size < 0 || options.image_size > max_size)
    throw UsageError(fmt::format("image size {}: expected 1 to {}", options.image_size, max_size));
  const auto reader =
      std::ranges::find_if(table, [&](const DatasetReader& entry) { return entry.recognises(spec); });
  if (reader == table.end()) fail_unrecognised(spec);
  Dataset dataset = reader->read(spec, options);
  apply_limit(dataset.train, options.limit_train);
  apply_limit(dataset.test, options.limit_test);
  apply_size(dataset.train, options.image_size);
  apply_size(dataset.test, options.image_size);
  const bool held = dataset.train.is_held() && dataset.test.is_held();
  finish_dataset(dataset, held ? ProgressCallback{} : options.progress);
  return dataset;
}

std::vector<std::pair<std::string, std::string>> describe(const Dataset& dataset) {
  const ImageSet& train = dataset.train;
  const auto channels = static_cast<size_t>(train.channels);
  const auto per_channel = [&](const std::array<float, 3>& values) {
    std::vector<std::string> texts;
    for (size_t c = 0; c < channels; ++c) texts.push_back(fmt::format("{:.4f}", values[c]));
    return join(texts, " ");
  };
  const auto count = [](const ImageSet& set) {
    std::vector<int64_t> per_class(set.classes.size());
    for (const int64_t label : set.labels) ++per_class[static_cast<size_t>(label)];
    const auto [least, most] = std::ranges::minmax(per_class);
    return least == most ? fmt::format("{} ({} of each class)", set.size(), least)
                         : fmt::format("{} ({} to {} of each class)", set.size(), least, most);
  };
  constexpr double mebibyte = 1 << 20;
  const auto bytes = static_cast<double>((train.size() + dataset.test.size()) * train.image_bytes());
  return {
      {"name", dataset.name},
      {"pictures", fmt::format("{} x {} {}", train.width, train.height, channels == 1 ? "grey" : "RGB")},
      {"training", count(train)},
      {"test", count(dataset.test)},
      {"classes", fmt::format("{}: {}", train.classes.size(), join(train.classes, ", "))},
      {"mean", per_channel(dataset.statistics.mean)},
      {"deviation", per_channel(dataset.statistics.deviation)},
      {"decoded",
       fmt::format("{:.1f} MiB, {}", bytes / mebibyte, train.is_held() ? "in memory" : "on demand")},
      {"digest", dataset.digest},
  };
}

void contact_sheet(const ImageSet& set, int64_t rows, int64_t columns, const fs::path& path) {
  constexpr int64_t gap = 2;
  constexpr uint8_t paper = 255;
  require(rows > 0 && columns > 0, "a contact sheet of {} x {} pictures", rows, columns);
  const int64_t step_y = set.height + gap, step_x = set.width + gap;
  require(rows * columns * step_y * step_x <= max_image_pixels,
          "a contact sheet of {} x {} pictures would have more than {} pixels", rows, columns,
          max_image_pixels);
  const int64_t height = rows * step_y + gap, width = columns * step_x + gap;
  std::vector<uint8_t> sheet(static_cast<size_t>(height * width * set.channels), paper);

  const auto classes = static_cast<int64_t>(set.classes.size());
  std::vector<int64_t> next(set.classes.size());
  std::vector<uint8_t> image(static_cast<size_t>(set.image_bytes()));
  for (int64_t row = 0; row < rows; ++row) {
    int64_t& at = next[static_cast<size_t>(row % classes)];
    for (int64_t column = 0; column < columns; ++column, ++at) {
      while (at < set.size() && set.labels[static_cast<size_t>(at)] != row % classes) ++at;
      if (at >= set.size()) break;
      set.read(at, image);
      for (int64_t y = 0; y < set.height; ++y) {
        const int64_t target = ((row * step_y + gap + y) * width + column * step_x + gap) * set.channels;
        std::copy_n(image.begin() + y * set.width * set.channels, set.width * set.channels,
                    sheet.begin() + target);
      }
    }
  }
  AtomicFile file(path);
  file.write(encode_png(sheet, height, width, set.channels));
  file.commit();
}

}  // namespace dw
