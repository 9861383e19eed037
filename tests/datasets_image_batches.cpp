// The trainer's view of a data set: from pictures on disk to normalised tensors.
#include "datasets/image_batches.h"

#include "tests/datasets_support.h"

namespace dw::datasets_test {
namespace {

TEST_CASE("datasets: the trainer's batches are normalised tensors, the same after seek") {
  const Dataset data = load_dataset("synthetic:train=50,test=20");
  CHECK(default_augmentation(data) == Augmentation::standard);
  ImageBatches batches(data.train, {.batch_size = 16, .seed = 3},
                       {Augmentation::standard, data.statistics, 3}, cpu);
  REQUIRE(batches.batches() == 4);
  std::vector<Batch> all;
  for (int i = 0; i < 8; ++i) all.push_back(batches.next());
  CHECK(all[0].images.shape() == Shape{16, 3, 32, 32});
  CHECK(all[3].labels.shape() == Shape{2});
  CHECK(all[0].images.to_vector<float>() != all[4].images.to_vector<float>());
  batches.seek(1, 2);
  const Batch again = batches.next();
  CHECK(again.images.to_vector<float>() == all[6].images.to_vector<float>());
  CHECK(again.labels.to_vector<int64_t>() == all[6].labels.to_vector<int64_t>());

  ImageBatches test(data.test, {.batch_size = 20, .shuffle = false}, {Augmentation::none, data.statistics, 0},
                    cpu);
  const Batch whole = test.next();
  CHECK(whole.labels.to_vector<int64_t>() == data.test.labels);
  const float first = (static_cast<float>(data.test.pixels[0]) / 255 - data.statistics.mean[0]) /
                      data.statistics.deviation[0];
  CHECK(whole.images.to_vector<float>()[0] == doctest::Approx(first).epsilon(1e-5));
}

}  // namespace
}  // namespace dw::datasets_test
