// CIFAR binary and IDX: round trips through the converters, known bytes, real files where they are.
#include <algorithm>

#include "datasets/convert.h"
#include "tests/datasets_support.h"

namespace dw::datasets_test {
namespace {

/// Grey digits-like pictures, `count` in train and half as many in test, three classes.
Dataset grey_dataset(int64_t count) {
  Dataset data;
  data.name = "grey";
  for (ImageSet* set : {&data.train, &data.test}) {
    set->name = "grey";
    set->height = 7;
    set->width = 5;
    set->channels = 1;
    set->classes = {"0", "1", "2"};
    const int64_t own = set == &data.train ? count : count / 2;
    for (int64_t i = 0; i < own; ++i) {
      set->labels.push_back(i % 3);
      const auto image = pattern(7, 5, 1, static_cast<int>(i + own));
      set->pixels.insert(set->pixels.end(), image.begin(), image.end());
    }
  }
  finish_dataset(data);
  return data;
}

TEST_CASE("datasets: CIFAR-10 and CIFAR-100 files give back the data set they were written from") {
  const TemporaryFolder folder;
  const Dataset original = load_dataset("synthetic:train=30,test=20,seed=5");
  for (const auto flavour : {CifarFlavour::cifar10, CifarFlavour::cifar100}) {
    const fs::path target = folder / (flavour == CifarFlavour::cifar10 ? "ten" : "hundred");
    write_cifar(original, target, flavour);
    const Dataset copy = load_dataset(target.string());
    CHECK(copy.digest == original.digest);
    CHECK(copy.train.classes == original.train.classes);
    CHECK(copy.train.pixels == original.train.pixels);
    CHECK(copy.test.labels == original.test.labels);
  }
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 2);
}

TEST_CASE("datasets: CIFAR-10 records are a label and planar RGB") {
  const TemporaryFolder folder;
  const Dataset original = load_dataset("synthetic:train=20,test=10");
  write_cifar(original, folder / "c", CifarFlavour::cifar10);
  const auto bytes = read_bytes(folder / "c/data_batch_1.bin");
  REQUIRE(bytes.size() == 20 * 3073);
  const auto image = original.train.held_image(3);
  CHECK(std::to_integer<int>(bytes[3 * 3073]) == 3);
  CHECK(std::to_integer<int>(bytes[3 * 3073 + 1 + 33]) == image[33 * 3]);
  CHECK(std::to_integer<int>(bytes[3 * 3073 + 1 + 1024 + 33]) == image[33 * 3 + 1]);
  CHECK(std::to_integer<int>(bytes[3 * 3073 + 1 + 2048 + 33]) == image[33 * 3 + 2]);
}

TEST_CASE("datasets: CIFAR-10 training batches are read in numerical order") {
  const TemporaryFolder folder;
  for (const int number : {1, 2, 10}) {
    std::vector<uint8_t> records(2 * 3073, static_cast<uint8_t>(number));
    records[0] = 0;
    records[3073] = 1;
    write_bytes(folder / ("data_batch_" + std::to_string(number) + ".bin"), records);
    write_bytes(folder / "test_batch.bin", records);
  }
  const Dataset data = load_dataset(folder.string());
  CHECK(data.train.held_image(0)[0] == 1);
  CHECK(data.train.held_image(2)[0] == 2);
  CHECK(data.train.held_image(4)[0] == 10);
  CHECK(data.train.classes.size() == 10);
}

TEST_CASE("datasets: IDX files, plain and gzip, give back the data set they were written from") {
  const TemporaryFolder folder;
  const Dataset original = grey_dataset(30);
  for (const bool compress : {false, true}) {
    const fs::path target = folder / (compress ? "gz" : "plain");
    write_idx(original, target, compress);
    const Dataset copy = load_dataset(target.string());
    CHECK(copy.digest == original.digest);
    CHECK(copy.train.pixels == original.train.pixels);
    CHECK(fs::exists(target / (compress ? "t10k-labels-idx1-ubyte.gz" : "t10k-labels-idx1-ubyte")));
  }
}

TEST_CASE("datasets: a lone IDX pair gives every fifth sample to the test split, however it is named") {
  const TemporaryFolder folder;
  const Dataset original = grey_dataset(30);
  write_idx(original, folder / "both", true);
  const fs::path images = folder / "t10k-images-idx3-ubyte.gz", labels = folder / "t10k-labels-idx1-ubyte.gz";
  fs::copy(folder / "both/train-images-idx3-ubyte.gz", images);
  fs::copy(folder / "both/train-labels-idx1-ubyte.gz", labels);
  for (const std::string& spec :
       {folder.string(), (folder / "t10k").string(), images.string() + "," + labels.string()}) {
    CAPTURE(spec);
    const Dataset data = load_dataset(spec);
    CHECK(data.train.size() == 24);
    CHECK(data.test.size() == 6);
    const auto fifth = original.train.held_image(4), sixth = original.train.held_image(5);
    CHECK(std::ranges::equal(data.test.held_image(0), fifth));
    CHECK(std::ranges::equal(data.train.held_image(4), sixth));
  }
}

TEST_CASE("datasets: a folder of PNG gives back the pictures sorted by class") {
  const TemporaryFolder folder;
  const Dataset original = load_dataset("synthetic:train=30,test=20");
  write_folder(original, folder / "png");
  const Dataset copy = load_dataset((folder / "png").string());
  REQUIRE(copy.train.size() == 30);
  REQUIRE(copy.train.classes[0] == "checker");
  // Class 9, "checker", comes first by name; its pictures are 9, 19 and 29.
  CHECK(std::ranges::equal(copy.train.held_image(1), original.train.held_image(19)));
  CHECK(copy.statistics.mean == original.statistics.mean);
}

TEST_CASE("datasets: a converter refuses what its format cannot hold, and leaves nothing") {
  const TemporaryFolder folder;
  const Dataset grey = grey_dataset(9);
  const Dataset colour = load_dataset("synthetic:train=10,test=10");
  Dataset many = colour;
  for (ImageSet* set : {&many.train, &many.test}) set->classes.resize(12, "x");
  CHECK(contains(error_of([&] { write_cifar(grey, folder / "x", CifarFlavour::cifar10); }), "32 x 32 RGB"));
  CHECK(contains(error_of([&] { write_cifar(many, folder / "x", CifarFlavour::cifar10); }),
                 "at most 10 classes"));
  CHECK(contains(error_of([&] { write_idx(colour, folder / "x", false); }), "grey"));
  CHECK(contains(error_of([&] { write_folder(many, folder / "x"); }), "same name"));
  Dataset slashed = colour;
  for (ImageSet* set : {&slashed.train, &slashed.test}) set->classes[0] = "../escape";
  CHECK(contains(error_of([&] { write_folder(slashed, folder / "x"); }), "cannot be the name"));
  const auto abort = [](int64_t, int64_t) { fail("stopped"); };
  CHECK(error_of([&] { write_folder(colour, folder / "x", abort); }) == "stopped");
  CHECK(fs::is_empty(folder.path()));

  write_small_folder(folder / "taken");
  CHECK(contains(error_of([&] { write_folder(colour, folder / "taken"); }), "not an empty folder"));
  CHECK(fs::exists(folder / "taken/train/apple/0.png"));
}

TEST_CASE("datasets: the real MNIST test files are split 8,000 to 2,000") {
  const fs::path images = real_data("t10k-images-idx3-ubyte.gz");
  if (images.empty()) return;
  const Dataset data = load_dataset((images.parent_path() / "t10k").string());
  CHECK(data.train.size() == 8000);
  CHECK(data.test.size() == 2000);
  CHECK(data.train.classes.size() == 10);
  CHECK(data.train.labels[0] == 7);  // the first digits are 7, 2, 1, 0
  CHECK(data.train.labels[3] == 0);
  CHECK(data.statistics.mean[0] == doctest::Approx(0.1325).epsilon(0.01));
}

TEST_CASE("datasets: the real CIFAR-10 pictures survive the trip through the binary format") {
  const fs::path folder = real_data("cifar10");
  if (folder.empty()) return;
  const Dataset original =
      load_dataset(folder.string(), {.limit_train = 500, .limit_test = 100, .progress = {}});
  CHECK(original.statistics.mean[0] == doctest::Approx(0.49).epsilon(0.05));
  const TemporaryFolder out;
  write_cifar(original, out / "c", CifarFlavour::cifar10);
  CHECK(load_dataset((out / "c").string()).digest == original.digest);
}

}  // namespace
}  // namespace dw::datasets_test
