// A folder of pictures sorted into classes, decoded by all threads, or on demand when too large to hold.
#include <algorithm>
#include <filesystem>

#include "datasets/image_file.h"
#include "datasets/parallel.h"
#include "datasets/readers.h"
#include "kernels/error.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

struct ClassFiles {
  std::string name;
  std::vector<std::string> files;  ///< sorted names
};

/// Sorted names of the entries of `folder` that satisfy `keep`.
template <typename Keep>
std::vector<std::string> list(const fs::path& folder, Keep&& keep) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (keep(*entry)) names.push_back(entry->path().filename().string());
  require(!error, "cannot list {}: {}", folder.string(), error.message());
  std::ranges::sort(names);
  return names;
}

std::vector<ClassFiles> list_classes(const fs::path& folder) {
  std::error_code error;
  require(fs::is_directory(folder, error), "{} is missing: expected a folder with one folder per class",
          folder.string());
  std::vector<ClassFiles> classes;
  for (const auto& name : list(folder, [](const fs::directory_entry& entry) {
         return entry.is_directory() && !entry.path().filename().string().starts_with('.');
       })) {
    auto files = list(folder / name, [](const fs::directory_entry& entry) {
      return has_image_extension(entry.path()) && !entry.path().filename().string().starts_with('.') &&
             entry.is_regular_file();
    });
    require(!files.empty(), "{} has no pictures: expected .jpg, .jpeg, .png or .bmp files",
            (folder / name).string());
    classes.push_back({name, std::move(files)});
  }
  require(!classes.empty(), "{} has no class folders: expected {}/CLASS/*.jpg (or .png, .bmp)",
          folder.string(), folder.string());
  return classes;
}

/// Names in `a` that are not in `b`, the first few.
std::string missing(const std::vector<ClassFiles>& a, const std::vector<ClassFiles>& b) {
  constexpr size_t shown = 5;
  std::string result;
  size_t count = 0;
  for (const auto& entry : a) {
    if (std::ranges::binary_search(b, entry.name, {}, &ClassFiles::name)) continue;
    if (++count <= shown) result += (count > 1 ? ", " : "") + entry.name;
  }
  if (count > shown) result += fmt::format(" and {} more", count - shown);
  return count == 0 ? "none" : result;
}

class FileSource : public ImageSource {
 public:
  FileSource(std::vector<std::string> paths, int64_t height, int64_t width, int64_t channels)
      : paths_(std::move(paths)), height_(height), width_(width), channels_(channels) {}

  void read(int64_t index, std::span<uint8_t> out) const override {
    const Image image = read_image(paths_[static_cast<size_t>(index)], channels_);
    resize_image(image.pixels, image.height, image.width, out, height_, width_, channels_);
  }

 private:
  std::vector<std::string> paths_;
  int64_t height_, width_, channels_;
};

struct Listing {
  std::vector<std::string> paths;
  std::vector<int64_t> labels;
};

Listing flatten(const fs::path& folder, const std::vector<ClassFiles>& classes, int64_t limit) {
  Listing all;
  for (size_t label = 0; label < classes.size(); ++label)
    for (const auto& file : classes[label].files) {
      all.paths.push_back((folder / classes[label].name / file).string());
      all.labels.push_back(static_cast<int64_t>(label));
    }
  Listing kept;
  for (const int64_t index : balanced_indices(all.labels, limit)) {
    kept.paths.push_back(std::move(all.paths[static_cast<size_t>(index)]));
    kept.labels.push_back(all.labels[static_cast<size_t>(index)]);
  }
  return kept;
}

/// 1 when every picture is grey. The first colour picture decides, so colour sets cost one header.
int64_t count_channels(const std::vector<std::string>& paths) {
  return std::ranges::all_of(paths, [](const auto& path) { return read_image_header(path).channels == 1; })
             ? 1
             : 3;
}

}  // namespace

bool is_class_folder(const std::string& spec) {
  std::error_code error;
  return fs::is_directory(fs::path(spec) / "train", error) ||
         fs::is_directory(fs::path(spec) / "test", error);
}

Dataset read_class_folder(const std::string& spec, const LoadOptions& options) {
  const fs::path folder(spec);
  const auto train_classes = list_classes(folder / "train");
  const auto test_classes = list_classes(folder / "test");
  require(std::ranges::equal(train_classes, test_classes, {}, &ClassFiles::name, &ClassFiles::name),
          "{}: train and test must have the same class folders; only in train: {}; only in test: {}", spec,
          missing(train_classes, test_classes), missing(test_classes, train_classes));

  std::array listings{flatten(folder / "train", train_classes, options.limit_train),
                      flatten(folder / "test", test_classes, options.limit_test)};
  const ImageHeader first = read_image_header(listings[0].paths.front());
  const int64_t height = options.image_size > 0 ? options.image_size : first.height;
  const int64_t width = options.image_size > 0 ? options.image_size : first.width;
  const int64_t channels = std::max(count_channels(listings[0].paths), count_channels(listings[1].paths));
  const auto total = static_cast<int64_t>(listings[0].paths.size() + listings[1].paths.size());
  const bool held = total <= options.memory_limit / (height * width * channels);

  Dataset dataset;
  dataset.name =
      folder.filename().empty() ? folder.parent_path().filename().string() : folder.filename().string();
  int64_t before = 0;
  for (const bool training : {true, false}) {
    ImageSet& set = training ? dataset.train : dataset.test;
    Listing& listing = listings[training ? 0 : 1];
    set.name = (folder / (training ? "train" : "test")).string();
    set.height = height;
    set.width = width;
    set.channels = channels;
    set.labels = std::move(listing.labels);
    for (const auto& entry : train_classes) set.classes.push_back(entry.name);
    auto source = std::make_shared<FileSource>(std::move(listing.paths), height, width, channels);
    if (!held) {
      set.source = std::move(source);
      continue;
    }
    const auto bytes = static_cast<size_t>(set.image_bytes());
    std::vector<uint8_t> pixels(set.labels.size() * bytes);
    ProgressCallback progress;
    if (options.progress) progress = [&](int64_t done, int64_t) { options.progress(before + done, total); };
    for_each_image(set.size(), progress, [&](int64_t i) {
      source->read(i, std::span(pixels).subspan(static_cast<size_t>(i) * bytes, bytes));
    });
    set.pixels = std::move(pixels);
    before += set.size();
  }
  return dataset;
}

}  // namespace dw
