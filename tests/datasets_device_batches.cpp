// Batches picked on the device beside those of the loader: the same bits, whatever the order of reading.
#include "core/ops.h"
#include "datasets/device_batches.h"
#include "datasets/image_batches.h"
#include "kernels/graph.h"
#include "tests/datasets_support.h"
#include "tests/devices.h"

namespace dw::datasets_test {
namespace {

void check_same(const Batch& found, const Batch& expected) {
  CHECK(found.images.shape() == expected.images.shape());
  CHECK(found.images.layout() == expected.images.layout());
  CHECK(found.images.to_vector<float>() == expected.images.to_vector<float>());
  CHECK(found.labels.to_vector<int64_t>() == expected.labels.to_vector<int64_t>());
}

ImageSet grey_set() {
  ImageSet set = load_dataset("synthetic:train=13,test=4").train;
  set.channels = 1;
  set.width = 24;  // 13 pictures of 32 x 24 from the first bytes of the coloured ones
  set.pixels.resize(static_cast<size_t>(set.size() * set.image_bytes()));
  return set;
}

TEST_CASE("datasets: batches picked on the device are the loader's, bit for bit") {
  for_each_device([](Device device) {
    for (const ImageSet& set : {load_dataset("synthetic:train=50,test=4").train, grey_set()}) {
      for (const Augmentation augmentation :
           {Augmentation::none, Augmentation::crop, Augmentation::standard}) {
        for (const LoaderOptions& loader :
             {LoaderOptions{.batch_size = 8, .seed = 3}, LoaderOptions{.batch_size = 64, .seed = 4},
              LoaderOptions{.batch_size = 9, .shuffle = false},
              LoaderOptions{.batch_size = 8, .seed = 5, .drop_last = true}}) {
          const AugmentOptions options{augmentation, {{0.4F, 0.5F, 0.6F}, {0.2F, 0.3F, 0.1F}}, 7};
          ImageBatches loaded(set, loader, options, device);
          DeviceBatches picked(set, loader, options, device);
          REQUIRE(picked.batches() == loaded.batches());
          for (int64_t i = 0; i < 2 * loaded.batches() + 1; ++i) check_same(picked.next(), loaded.next());
          for (const int64_t epoch : {5, 1}) {
            loaded.seek(epoch, loaded.batches() - 1);
            picked.seek(epoch, loaded.batches() - 1);
            check_same(picked.next(), loaded.next());  // and over the epoch's end
            check_same(picked.next(), loaded.next());
          }
        }
      }
    }
  });
}

TEST_CASE("datasets: a captured batch is, at each replay, the one prepared before it") {
  for_each_device([](Device device) {
    const Dataset data = load_dataset("synthetic:train=24,test=4");
    const LoaderOptions loader{.batch_size = 8, .seed = 3};
    const AugmentOptions options{Augmentation::standard, data.statistics, 7};
    ImageBatches loaded(data.train, loader, options, device);
    DeviceBatches picked(data.train, loader, options, device);
    CHECK(picked.prepare() == 8);
    static_cast<void>(picked.make());
    picked.seek(0, 0);
    Batch batch;
    const Graph graph = Graph::capture(device, [&] { batch = picked.make(); });
    for (int i = 0; i < 7; ++i) {
      CHECK(picked.prepare() == 8);
      graph.replay();
      check_same(batch, loaded.next());
    }
  });
}

TEST_CASE("datasets: what cannot lie on a device is refused, or loaded ahead") {
  const Dataset data = load_dataset("synthetic:train=24,test=4");
  CHECK(dynamic_cast<ImageBatches*>(make_batches(data.train, {.batch_size = 8}, {}, cpu).get()) != nullptr);
  CHECK_THROWS_AS(DeviceBatches(data.train, {.batch_size = 0}, {}, cpu), Error);
  CHECK_THROWS_AS(DeviceBatches(data.train, {.batch_size = 25, .drop_last = true}, {}, cpu), Error);
  DeviceBatches picked(data.train, {.batch_size = 8}, {}, cpu);
  CHECK_THROWS_AS(picked.seek(0, 4), Error);
  CHECK_THROWS_AS(picked.make(), Error);
}

}  // namespace
}  // namespace dw::datasets_test
