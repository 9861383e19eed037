// Files and folders that are wrong: each gives one line that names the file and what is the matter.
#include <zlib.h>

#include <algorithm>

#include "datasets/convert.h"
#include "tests/datasets_support.h"

namespace dw::datasets_test {
namespace {

std::vector<uint8_t> words(std::initializer_list<uint32_t> values) {
  std::vector<uint8_t> bytes;
  for (const uint32_t value : values)
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
  return bytes;
}

void write_idx_pair(const fs::path& folder, std::vector<uint8_t> images, std::vector<uint8_t> labels) {
  write_bytes(folder / "train-images-idx3-ubyte", images);
  write_bytes(folder / "train-labels-idx1-ubyte", labels);
}

/// 10 pictures of 2 × 2 with labels 0 and 1.
std::vector<uint8_t> good_images() {
  auto bytes = words({0x803, 10, 2, 2});
  bytes.resize(bytes.size() + 40, 9);
  return bytes;
}
std::vector<uint8_t> good_labels() {
  auto bytes = words({0x801, 10});
  for (uint8_t i = 0; i < 10; ++i) bytes.push_back(i % 2);
  return bytes;
}

TEST_CASE("datasets: a SPEC that is nothing says what was looked for and what is there") {
  const TemporaryFolder folder;
  CHECK(contains(load_error((folder / "absent").string()), "does not exist"));
  CHECK(contains(load_error(folder.string()), "found nothing"));
  write_bytes(folder / "readme.md", std::vector<uint8_t>{1});
  const std::string message = load_error(folder.string());
  CHECK(contains(message, "train/CLASS/*.jpg"));
  CHECK(contains(message, "data_batch_*.bin"));
  CHECK(contains(message, "found readme.md"));
  CHECK(message.find('\n') == std::string::npos);
  CHECK(contains(load_error((folder / "readme.md").string()), "found a single file"));
  CHECK_THROWS_AS(load_dataset("synthetic:train=0"), UsageError);
  CHECK_THROWS_AS(load_dataset("synthetic:test"), UsageError);
  CHECK_THROWS_AS(load_dataset("synthetic:train=5x"), UsageError);
  CHECK_THROWS_AS(load_dataset("synthetic:colour=1"), UsageError);
  CHECK_THROWS_AS(load_dataset("synthetic", {.image_size = -1, .progress = {}}), UsageError);
}

TEST_CASE("datasets: folders without the classes that training needs") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "train");
  CHECK(contains(load_error(folder.string()), "has no class folders"));
  write_png(folder / "train/apple/0.png", 4, 4, 3, 0);
  CHECK(contains(load_error(folder.string()), (folder / "test").string() + " is missing"));
  write_png(folder / "test/apple/0.png", 4, 4, 3, 0);
  CHECK(contains(load_error(folder.string()), "at least two classes, found only \"apple\""));
  fs::create_directories(folder / "train/pear");
  CHECK(contains(load_error(folder.string()), "pear has no pictures"));
  write_png(folder / "train/pear/0.png", 4, 4, 3, 0);
  CHECK(contains(load_error(folder.string()), "only in train: pear; only in test: none"));
}

TEST_CASE("datasets: damaged pictures are named") {
  const TemporaryFolder folder;
  write_small_folder(folder.path());
  const fs::path victim = folder / "train/pear/1.png";
  auto bytes = read_bytes(victim);
  std::string expected;
  SUBCASE("empty") {
    bytes.clear();
    expected = "is empty";
  }
  SUBCASE("truncated in the data") {
    bytes.resize(bytes.size() / 2);
    expected = "is truncated";
  }
  SUBCASE("without its end") {
    bytes.resize(bytes.size() - 12);
    expected = "without IEND";
  }
  SUBCASE("one bit flipped") {
    bytes[bytes.size() - 30] ^= std::byte{4};
    expected = "bad checksum";
  }
  SUBCASE("chunk longer than the file") {
    bytes[8 + 4 + 4 + 13 + 4] = std::byte{0x7f};
    expected = "is truncated";
  }
  SUBCASE("not a picture") {
    bytes.assign(500, std::byte{'x'});
    expected = "is not a readable";
  }
  SUBCASE("claims 16,000 x 16,000 pixels") {
    for (const size_t at : {16, 20}) {
      bytes[at + 2] = std::byte{0x3e};
      bytes[at + 3] = std::byte{0x80};
    }
    expected = "claims 16000 x 16000 pixels";
  }
  write_bytes(victim, bytes);
  const std::string message = load_error(folder.string());
  CHECK(contains(message, victim.string()));
  CHECK_MESSAGE(contains(message, expected), message);
}

TEST_CASE("datasets: of several damaged pictures the first by name is reported") {
  const TemporaryFolder folder;
  write_small_folder(folder.path(), 40);
  for (const char* name : {"train/pear/9.png", "train/pear/30.png", "train/apple/25.png"})
    write_bytes(folder / name, std::vector<uint8_t>(9, 1));
  for (int i = 0; i < 5; ++i) CHECK(contains(load_error(folder.string()), "train/apple/25.png"));
}

TEST_CASE("datasets: CIFAR files of the wrong size or with labels out of range") {
  const TemporaryFolder folder;
  write_bytes(folder / "test_batch.bin", std::vector<uint8_t>(3073, 0));
  CHECK(contains(load_error(folder.string()), "no data_batch_*.bin"));
  write_bytes(folder / "data_batch_1.bin", std::vector<uint8_t>(3072, 0));
  CHECK(contains(load_error(folder.string()), "records of 3073 bytes"));
  write_bytes(folder / "data_batch_1.bin", std::vector<uint8_t>());
  CHECK(contains(load_error(folder.string()), "has 0 bytes"));
  std::vector<uint8_t> records(2 * 3073, 0);
  records[3073] = 10;
  write_bytes(folder / "data_batch_1.bin", records);
  CHECK(contains(load_error(folder.string()), "record 1 has label 10, expected less than 10"));
  records[3073] = 0;
  write_bytes(folder / "data_batch_1.bin", records);
  CHECK(contains(load_error(folder.string()), "at least two classes"));
  fs::remove(folder / "test_batch.bin");
  CHECK(contains(load_error(folder.string()), "test_batch.bin"));
}

TEST_CASE("datasets: IDX headers that lie") {
  const TemporaryFolder folder;
  write_idx_pair(folder.path(), good_images(), good_labels());
  REQUIRE(load_error(folder.string()) == "");
  auto images = good_images();
  auto labels = good_labels();
  std::string expected;
  SUBCASE("magic") {
    images[3] = 4;
    expected = "magic number 0x00000804, expected 0x00000803";
  }
  SUBCASE("empty") {
    images.clear();
    expected = "is empty";
  }
  SUBCASE("header only in part") {
    images.resize(7);
    expected = "is truncated";
  }
  SUBCASE("truncated") {
    images.pop_back();
    expected = "is truncated";
  }
  SUBCASE("too long") {
    images.push_back(0);
    expected = "has 57 bytes, expected 56";
  }
  SUBCASE("four billion pictures") {
    images = words({0x803, 0xffffffff, 2, 2});
    expected = "is truncated";
  }
  SUBCASE("pictures of four billion pixels a side") {
    images = words({0x803, 1, 0xffffffff, 0xffffffff});
    expected = "pixels a side";
  }
  SUBCASE("no pixels") {
    images = words({0x803, 10, 0, 2});
    expected = "pixels a side";
  }
  SUBCASE("label count") {
    labels[7] = 9;
    labels.pop_back();
    expected = "has 10 pictures but";
  }
  SUBCASE("no pictures") {
    images = words({0x803, 0, 2, 2});
    labels = words({0x801, 0});
    expected = "no pictures";
  }
  write_idx_pair(folder.path(), images, labels);
  const std::string message = load_error(folder.string());
  CHECK_MESSAGE(contains(message, expected), message);
}

TEST_CASE("datasets: IDX without its label file, or with files that make no pair of splits") {
  const TemporaryFolder folder;
  write_idx_pair(folder.path(), good_images(), good_labels());
  write_bytes(folder / "other-images-idx3-ubyte", good_images());
  CHECK(contains(load_error(folder.string()), "found 2 image files"));
  fs::remove(folder / "other-images-idx3-ubyte");
  fs::remove(folder / "train-labels-idx1-ubyte");
  CHECK(contains(load_error(folder.string()), "train-labels-idx1-ubyte"));
}

TEST_CASE("datasets: corrupt gzip is an error, not a data set") {
  const TemporaryFolder folder;
  Dataset data = load_dataset("synthetic:train=20,test=10");
  for (ImageSet* set : {&data.train, &data.test}) {
    set->channels = 1;
    set->width *= 3;
  }
  write_idx(data, folder / "idx", true);
  const fs::path victim = folder / "idx/train-images-idx3-ubyte.gz";
  auto bytes = read_bytes(victim);
  SUBCASE("truncated") {
    bytes.resize(bytes.size() / 2);
  }
  SUBCASE("without its last byte") {
    bytes.pop_back();
  }
  SUBCASE("a byte changed") {
    bytes[bytes.size() / 2] ^= std::byte{0x55};
  }
  SUBCASE("checksum changed") {
    bytes[bytes.size() - 6] ^= std::byte{1};
  }
  SUBCASE("a bomb: the header claims more than the file can hold") {
    auto header = words({0x803, 4'000'000, 1000, 1000});
    std::vector<Bytef> out(1000);
    z_stream stream{};
    REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    stream.next_in = header.data();
    stream.avail_in = static_cast<uInt>(header.size());
    stream.next_out = out.data();
    stream.avail_out = static_cast<uInt>(out.size());
    REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    const auto written = std::as_bytes(std::span(out).first(stream.total_out));
    deflateEnd(&stream);
    bytes.assign(written.begin(), written.end());
  }
  write_bytes(victim, bytes);
  const std::string message = load_error((folder / "idx").string());
  CHECK(contains(message, victim.string()));
  CHECK_MESSAGE((contains(message, "truncated") || contains(message, "corrupt gzip")), message);
}

}  // namespace
}  // namespace dw::datasets_test
