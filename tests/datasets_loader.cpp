// The loader: order, worker counts, resume, errors in workers, destruction at any moment.
#include <algorithm>
#include <atomic>
#include <set>

#include "datasets/loader.h"
#include "tests/datasets_support.h"

namespace dw::datasets_test {
namespace {

/// Pictures that say who they are; `bad` cannot be decoded.
class NumberedSource : public ImageSource {
 public:
  explicit NumberedSource(int64_t bad = -1) : bad_(bad) {}
  void read(int64_t index, std::span<uint8_t> out) const override {
    require(index != bad_, "picture {} is damaged", index);
    std::ranges::fill(out, static_cast<uint8_t>(index));
  }

 private:
  int64_t bad_;
};

ImageSet numbered_set(int64_t size, bool held, int64_t bad = -1) {
  ImageSet set;
  set.name = "numbered";
  set.height = set.width = 2;
  set.channels = 1;
  set.classes = {"a", "b"};
  for (int64_t i = 0; i < size; ++i) {
    set.labels.push_back(i % 2);
    set.pixels.insert(set.pixels.end(), 4, static_cast<uint8_t>(i));
  }
  if (!held) {
    set.pixels.clear();
    set.source = std::make_shared<NumberedSource>(bad);
  }
  return set;
}

bool same(const ImageBatch& a, const ImageBatch& b) {
  return a.epoch == b.epoch && a.number == b.number && a.indices == b.indices && a.labels == b.labels &&
         a.pixels == b.pixels;
}

std::vector<ImageBatch> take(Loader& loader, int count) {
  std::vector<ImageBatch> batches;
  for (int i = 0; i < count; ++i) batches.push_back(loader.next());
  return batches;
}

TEST_CASE("datasets: an epoch's order is a permutation set by seed and epoch alone") {
  const auto order = epoch_order(1000, 7, 3);
  CHECK(std::set(order.begin(), order.end()).size() == 1000);
  CHECK(*std::ranges::min_element(order) == 0);
  CHECK(*std::ranges::max_element(order) == 999);
  CHECK(order == epoch_order(1000, 7, 3));
  CHECK(order != epoch_order(1000, 7, 4));
  CHECK(order != epoch_order(1000, 8, 3));
  CHECK(epoch_order(5, 1, 0) == std::vector<int64_t>{0, 2, 1, 4, 3});
}

TEST_CASE("datasets: shuffling is uniform: every sample is as often in every place") {
  constexpr int places = 5, repetitions = 5000;
  int count[places][places] = {};
  for (int seed = 0; seed < repetitions; ++seed) {
    const auto order = epoch_order(places, static_cast<uint64_t>(seed), 0);
    for (size_t place = 0; place < places; ++place) ++count[place][order[place]];
  }
  // Expected 1,000 with standard deviation 28.
  for (const auto& row : count)
    for (const int times : row) CHECK(std::abs(times - 1000) < 140);
}

TEST_CASE("datasets: batches are the same for every worker count, held or decoded on demand") {
  const ImageSet held = numbered_set(53, true), lazy = numbered_set(53, false);
  Loader reference(held, {.batch_size = 8, .seed = 4, .workers = 0});
  REQUIRE(reference.batches_per_epoch() == 7);
  const auto expected = take(reference, 20);
  CHECK(expected[6].size() == 5);
  CHECK(expected[7].epoch == 1);
  for (const auto& batch : expected)
    for (size_t i = 0; i < batch.indices.size(); ++i) {
      CHECK(batch.pixels[4 * i + 3] == batch.indices[i]);
      CHECK(batch.labels[i] == batch.indices[i] % 2);
    }
  for (const int workers : {1, 2, 5})
    for (const ImageSet* set : {&held, &lazy}) {
      Loader loader(*set, {.batch_size = 8, .seed = 4, .workers = workers});
      const auto batches = take(loader, 20);
      CHECK(std::ranges::equal(batches, expected, same));
    }
}

TEST_CASE("datasets: an epoch visits every sample once; drop_last leaves out the rest") {
  const ImageSet set = numbered_set(53, true);
  for (const bool drop_last : {false, true}) {
    Loader loader(set, {.batch_size = 10, .seed = 1, .drop_last = drop_last, .workers = 2});
    CHECK(loader.batches_per_epoch() == (drop_last ? 5 : 6));
    std::vector<int64_t> seen;
    for (int64_t i = 0; i < loader.batches_per_epoch(); ++i) {
      const ImageBatch& batch = loader.next();
      CHECK(batch.number == i);
      seen.insert(seen.end(), batch.indices.begin(), batch.indices.end());
    }
    CHECK(seen.size() == (drop_last ? 50U : 53U));
    CHECK(std::set(seen.begin(), seen.end()).size() == seen.size());
  }
  Loader in_order(set, {.batch_size = 10, .shuffle = false, .workers = 2});
  CHECK(in_order.next().indices.front() == 0);
  CHECK(in_order.next().indices.front() == 10);
}

TEST_CASE("datasets: seek continues exactly there, before and after reading") {
  const ImageSet set = numbered_set(53, false);
  for (const int workers : {0, 3}) {
    Loader loader(set, {.batch_size = 8, .seed = 9, .workers = workers});
    const auto all = take(loader, 21);
    loader.seek(1, 3);
    CHECK(same(loader.next(), all[10]));
    CHECK(same(loader.next(), all[11]));
    loader.seek(0);
    CHECK(same(loader.next(), all[0]));
    loader.seek(0, 7);  // the end of epoch 0 is the start of epoch 1
    CHECK(same(loader.next(), all[7]));
    CHECK(contains(error_of([&] { loader.seek(0, 8); }), "no batch 8"));
    CHECK(same(loader.next(), all[8]));
  }
}

TEST_CASE("datasets: what fails in a worker surfaces in next(), in its place, and again") {
  const ImageSet set = numbered_set(40, false, 25);
  for (const int workers : {0, 1, 4}) {
    Loader loader(set, {.batch_size = 10, .shuffle = false, .workers = workers});
    CHECK(loader.next().size() == 10);
    CHECK(loader.next().size() == 10);
    for (int i = 0; i < 2; ++i) CHECK(error_of([&] { loader.next(); }) == "picture 25 is damaged");
    loader.seek(0, 3);
    CHECK(loader.next().indices.front() == 30);
  }
}

TEST_CASE("datasets: a loader can be destroyed at any moment") {
  const ImageSet set = numbered_set(53, false);
  for (int taken = 0; taken < 12; ++taken)
    for (const int workers : {1, 4}) {
      Loader loader(set, {.batch_size = 8, .workers = workers});
      for (int i = 0; i < taken; ++i) loader.next();
    }
}

TEST_CASE("datasets: a loader refuses what gives no batch") {
  const ImageSet set = numbered_set(5, true), none = numbered_set(0, true);
  CHECK(contains(error_of([&] { Loader(none, {}); }), "no pictures"));
  CHECK(contains(error_of([&] { Loader(set, {.batch_size = 0}); }), "expected at least 1"));
  CHECK(contains(error_of([&] { Loader(set, {.batch_size = 6, .drop_last = true}); }),
                 "do not fill one batch"));
}

}  // namespace
}  // namespace dw::datasets_test
