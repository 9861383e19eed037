// Folders of pictures: order, formats, resizing, decoding on demand, statistics, limits, contact sheets.
#include <cmath>
#include <numeric>

#include "tests/datasets_support.h"

#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

namespace dw::datasets_test {
namespace {

void write_jpeg(const fs::path& path, int height, int width, const std::vector<uint8_t>& pixels) {
  fs::create_directories(path.parent_path());
  REQUIRE(stbi_write_jpg(path.c_str(), width, height, 3, pixels.data(), 95) != 0);
}

TEST_CASE("datasets: a folder is read in order of class and file name") {
  const TemporaryFolder folder;
  write_small_folder(folder.path());
  const Dataset data = load_dataset(folder.string());
  CHECK(data.train.classes == std::vector<std::string>{"apple", "pear"});
  CHECK(data.train.labels == std::vector<int64_t>{0, 0, 1, 1});
  CHECK(data.train.height == 6);
  CHECK(data.train.width == 5);
  CHECK(data.train.channels == 3);
  for (int i = 0; i < 4; ++i) {
    const auto image = data.train.held_image(i);
    CHECK(std::vector(image.begin(), image.end()) == pattern(6, 5, 3, i));
    const auto test_image = data.test.held_image(i);
    CHECK(std::vector(test_image.begin(), test_image.end()) == pattern(6, 5, 3, 4 + i));
  }
}

TEST_CASE("datasets: JPEG, BMP and upper-case extensions are read, other files ignored") {
  const TemporaryFolder folder;
  write_small_folder(folder.path());
  const std::vector<uint8_t> flat(6 * 5 * 3, 90);
  write_jpeg(folder / "train/pear/8.JPG", 6, 5, flat);
  REQUIRE(stbi_write_bmp((folder / "train/pear/9.bmp").c_str(), 5, 6, 3, flat.data()) != 0);
  write_bytes(folder / "train/pear/notes.txt", std::vector<uint8_t>{1});
  write_bytes(folder / "train/pear/.hidden.png", std::vector<uint8_t>{1});
  const Dataset data = load_dataset(folder.string());
  REQUIRE(data.train.size() == 6);
  for (const int64_t i : {4, 5})
    for (const uint8_t value : data.train.held_image(i)) CHECK(std::abs(value - 90) <= 2);
}

TEST_CASE("datasets: a JPEG or BMP cut anywhere is an error") {
  const TemporaryFolder folder;
  const fs::path jpeg = folder / "a.jpg", bmp = folder / "a.bmp";
  const auto pixels = pattern(20, 32, 3, 1);  // BMP rows without padding, which stb skips instead of reading
  write_jpeg(jpeg, 20, 32, pixels);
  REQUIRE(stbi_write_bmp(bmp.c_str(), 32, 20, 3, pixels.data()) != 0);
  for (const fs::path& path : {jpeg, bmp}) {
    const auto whole = read_bytes(path);
    REQUIRE(read_image(path, 3).width == 32);
    for (size_t length = whole.size() - 4; length > 0; length -= std::min<size_t>(length, 29)) {
      CAPTURE(length);
      write_bytes(path, std::span(whole).first(length));
      CHECK(contains(error_of([&] { read_image(path, 3); }), path.string()));
    }
  }
}

TEST_CASE("datasets: grey folders have one channel, one colour picture makes them RGB") {
  const TemporaryFolder folder;
  for (const char* split : {"train", "test"})
    for (const char* name : {"a", "b"}) write_png(folder / split / name / "0.png", 4, 4, 1, 3);
  const Dataset grey = load_dataset(folder.string());
  CHECK(grey.train.channels == 1);
  const auto image = grey.train.held_image(0);
  CHECK(std::vector(image.begin(), image.end()) == pattern(4, 4, 1, 3));
  write_png(folder / "test/b/1.png", 4, 4, 3, 5);
  CHECK(load_dataset(folder.string()).train.channels == 3);
}

TEST_CASE("datasets: pictures of other sizes are resized, keeping flat colours flat") {
  const TemporaryFolder folder;
  write_small_folder(folder.path());
  const std::vector<uint8_t> flat(40 * 30 * 3, 77);
  write_bytes(folder / "train/pear/9.png", encode_png(flat, 40, 30, 3));
  const Dataset data = load_dataset(folder.string());
  CHECK(data.train.height == 6);
  for (const uint8_t value : data.train.held_image(4)) CHECK(value == 77);
  const Dataset sized = load_dataset(folder.string(), {.image_size = 16, .progress = {}});
  CHECK(sized.train.height == 16);
  CHECK(sized.test.width == 16);
  for (const uint8_t value : sized.train.held_image(4)) CHECK(value == 77);
}

TEST_CASE("datasets: shrinking averages instead of picking pixels") {
  std::vector<uint8_t> stripes(64 * 64);
  for (size_t i = 0; i < stripes.size(); ++i) stripes[i] = i % 2 == 0 ? 0 : 200;
  std::vector<uint8_t> out(8 * 8);
  resize_image(stripes, 64, 64, out, 8, 8, 1);
  for (const uint8_t value : out) CHECK(std::abs(value - 100) <= 20);
}

TEST_CASE("datasets: a folder too large to hold gives the same pictures, statistics and digest on demand") {
  const TemporaryFolder folder;
  write_small_folder(folder.path(), 5);
  const Dataset held = load_dataset(folder.string());
  const Dataset lazy = load_dataset(folder.string(), {.memory_limit = 1, .progress = {}});
  REQUIRE(held.train.is_held());
  REQUIRE_FALSE(lazy.train.is_held());
  CHECK(held.digest == lazy.digest);
  CHECK(held.statistics.mean == lazy.statistics.mean);
  const std::vector<int64_t> indices{7, 0, 3};
  const ImageSet held_part = subset(held.train, indices), lazy_part = subset(lazy.train, indices);
  for (int64_t i = 0; i < 3; ++i) {
    std::vector<uint8_t> image(static_cast<size_t>(lazy_part.image_bytes()));
    lazy_part.read(i, image);
    const auto expected = held_part.held_image(i);
    CHECK(std::vector(expected.begin(), expected.end()) == image);
  }
}

TEST_CASE("datasets: statistics are those of the training pixels") {
  const TemporaryFolder folder;
  write_small_folder(folder.path(), 3);
  const Dataset data = load_dataset(folder.string());
  for (size_t c = 0; c < 3; ++c) {
    std::vector<double> values;
    for (size_t i = c; i < data.train.pixels.size(); i += 3) values.push_back(data.train.pixels[i] / 255.0);
    const auto count = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
    double variance = 0;
    for (const double value : values) variance += (value - mean) * (value - mean) / count;
    CHECK(data.statistics.mean[c] == doctest::Approx(mean).epsilon(1e-6));
    CHECK(data.statistics.deviation[c] == doctest::Approx(std::sqrt(variance)).epsilon(1e-6));
  }
}

TEST_CASE("datasets: the digest notices a changed pixel, label or name, and nothing else") {
  const TemporaryFolder folder;
  write_small_folder(folder.path());
  Dataset data = load_dataset(folder.string());
  const std::string original = data.digest;
  finish_dataset(data);
  CHECK(data.digest == original);
  SUBCASE("pixel") {
    data.train.pixels[17] ^= 128;
  }
  SUBCASE("last pixel of the test split") {
    data.test.pixels.back() ^= 1;
  }
  SUBCASE("label") {
    data.train.labels[0] = 1;
  }
  SUBCASE("name") {
    data.train.classes[0] = data.test.classes[0] = "Apple";
  }
  finish_dataset(data);
  CHECK(data.digest != original);
}

TEST_CASE("datasets: a limit takes the first samples of every class alike") {
  const std::vector<int64_t> labels{0, 0, 0, 1, 2, 2, 1, 0};
  CHECK(balanced_indices(labels, 4) == std::vector<int64_t>{0, 1, 3, 4});
  CHECK(balanced_indices(labels, 7) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6});
  CHECK(balanced_indices(labels, 0).size() == 8);
  CHECK(balanced_indices(labels, 99).size() == 8);
  const TemporaryFolder folder;
  write_small_folder(folder.path(), 4);
  const Dataset data = load_dataset(folder.string(), {.limit_train = 4, .limit_test = 3, .progress = {}});
  CHECK(data.train.labels == std::vector<int64_t>{0, 0, 1, 1});
  CHECK(data.test.labels == std::vector<int64_t>{0, 0, 1});
}

TEST_CASE("datasets: progress counts to the total and may abort") {
  const TemporaryFolder folder;
  write_small_folder(folder.path(), 4);
  int64_t last = 0;
  const auto count = [&](int64_t done, int64_t total) {
    CHECK(done >= last);
    CHECK(total == 16);
    last = done;
  };
  load_dataset(folder.string(), {.progress = count});
  CHECK(last == 16);
  const auto abort = [](int64_t, int64_t) { fail("stopped by the caller"); };
  CHECK(error_of([&] { load_dataset(folder.string(), {.progress = abort}); }) == "stopped by the caller");
}

TEST_CASE("datasets: a contact sheet shows one class a row") {
  const TemporaryFolder folder;
  write_small_folder(folder.path());
  const Dataset data = load_dataset(folder.string());
  contact_sheet(data.train, 2, 3, folder / "sheet.png");
  const Image sheet = read_image(folder / "sheet.png", 3);
  CHECK(sheet.height == 2 * (6 + 2) + 2);
  CHECK(sheet.width == 3 * (5 + 2) + 2);
  const auto pixel = [&](int64_t y, int64_t x) {
    return sheet.pixels[static_cast<size_t>((y * sheet.width + x) * 3)];
  };
  CHECK(pixel(2, 2) == data.train.held_image(0)[0]);
  CHECK(pixel(10, 9) == data.train.held_image(3)[0]);
  CHECK(pixel(2, 16) == 255);
}

TEST_CASE("datasets: describe names what a person wants to know") {
  const TemporaryFolder folder;
  write_small_folder(folder.path());
  const auto rows = describe(load_dataset(folder.string()));
  const auto value = [&](const std::string& name) {
    for (const auto& [key, text] : rows)
      if (key == name) return text;
    return std::string();
  };
  CHECK(value("pictures") == "5 x 6 RGB");
  CHECK(value("training") == "4 (2 of each class)");
  CHECK(value("classes") == "2: apple, pear");
  CHECK(value("digest").size() == 16);
}

}  // namespace
}  // namespace dw::datasets_test
