// The block executor's phases on the CPU: every index once, reductions and scans of any length.
#include "kernels/block.h"

#include <algorithm>
#include <vector>

#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

using cpu_backend::Block;
using cpu_backend::CrewBlock;
using cpu_backend::for_each_block;
using cpu_backend::LaneValues;
using cpu_backend::Pair;
using cpu_backend::run_crew;

struct Shared {
  LaneValues<int64_t> lanes;
  int64_t data[9000];
};

TEST_CASE("block executor: reduce and scan of any length") {
  for (const int64_t count : {0, 1, 2, 255, 256, 257, 511, 512, 1000, 2000, 4096, 4097, 9000}) {
    CAPTURE(count);
    std::vector<int64_t> sums(5), most(5), scans(static_cast<size_t>(5 * count));
    for_each_block<Shared>({}, 5, [&](const Block& block, int64_t index, Shared& shared) {
      const auto value = [&](int64_t i) { return (i * 37 + index) % 101; };
      const auto add = [](int64_t a, int64_t b) { return a + b; };
      const auto larger = [](int64_t a, int64_t b) { return a > b ? a : b; };
      sums[static_cast<size_t>(index)] = block.reduce(count, int64_t{0}, shared.lanes, value, add);
      most[static_cast<size_t>(index)] = block.reduce(count, int64_t{-1}, shared.lanes, value, larger);
      block.each(count, [&](int64_t i) { shared.data[i] = value(i); });
      block.inclusive_scan(count, shared.data, shared.lanes, add);
      block.each(count, [&](int64_t i) { scans[static_cast<size_t>(index * count + i)] = shared.data[i]; });
    });
    for (int64_t index = 0; index < 5; ++index) {
      int64_t sum = 0, largest = -1;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t value = (i * 37 + index) % 101;
        sum += value;
        largest = std::max(largest, value);
        REQUIRE(scans[static_cast<size_t>(index * count + i)] == sum);
      }
      CHECK(sums[static_cast<size_t>(index)] == sum);
      CHECK(most[static_cast<size_t>(index)] == largest);
    }
  }
}

TEST_CASE("block executor: atomic additions of all blocks arrive") {
  int64_t total = 0;
  for_each_block<Shared>({}, 1000, [&](const Block& block, int64_t index, Shared&) {
    block.each(10, [&](int64_t i) { block.atomic_add(&total, index + i); });
  });
  CHECK(total == 999 * 1000 / 2 * 10 + 45 * 1000);
}

TEST_CASE("block executor: the shares of a crew cover everything once, and its blocks meet") {
  const int before = thread_count();
  for (const int threads : {1, 2, 3, 5}) {
    set_thread_count(threads);
    for (const int64_t most : {1, 2, 1000}) {
      constexpr int64_t items = 7;
      std::vector<int64_t> squares(items), sums(items);
      int64_t blocks = 0;
      run_crew<Shared>({}, most, [&](const CrewBlock& block, Shared&) {
        if (block.index() == 0) blocks = block.count();
        for (int64_t i = block.begin(items); i < block.end(items); ++i)
          squares[static_cast<size_t>(i)] += (i + 1) * (i + 1);
        block.meet();
        // Reads what other blocks wrote.
        for (int64_t i = block.begin(items); i < block.end(items); ++i)
          for (const int64_t square : squares) sums[static_cast<size_t>(i)] += square;
      });
      CHECK(blocks <= std::min<int64_t>(most, threads));
      CHECK(blocks >= 1);
      CHECK(squares == std::vector<int64_t>{1, 4, 9, 16, 25, 36, 49});
      CHECK(sums == std::vector<int64_t>(items, 140));
    }
  }
  set_thread_count(before);
}

TEST_CASE("block executor: counts of all blocks arrive, pairs do not touch each other") {
  struct Counts {
    uint32_t bins[33];
  };
  std::vector<int64_t> sums(33, -5);
  for_each_block<Counts>({}, 100, [&](const Block& block, int64_t index, Counts& counts) {
    block.each(33, [&](int64_t i) { counts.bins[i] = 0; });
    block.each_prepared<int64_t, Pair>(
        1000,
        [=](int64_t i, int64_t& bin, Pair& pair) {
          bin = (i * 7 + index) % 32;
          pair = {3'000'000, static_cast<uint32_t>(1'000'000 + i)};
        },
        [&](int64_t, int64_t bin, const Pair& pair) { block.add_in_block(counts.bins + bin, pair); });
    block.atomic_add_all(sums.data(), counts.bins, 33);
  });
  std::vector<int64_t> expected(33, -5);
  for (int64_t index = 0; index < 100; ++index) {
    for (int64_t i = 0; i < 1000; ++i) {
      expected[static_cast<size_t>((i * 7 + index) % 32)] += 3'000'000;
      expected[static_cast<size_t>((i * 7 + index) % 32 + 1)] += 1'000'000 + i;
    }
  }
  CHECK(sums == expected);
}

TEST_CASE("block executor: values looked up belong to their index, across runs and in a short last one") {
  struct Nothing {};
  const std::vector<int64_t> table = {11, 13, 17, 19, 23};
  for (const int64_t count : {0, 1, 255, 256, 257, 1000}) {
    std::vector<int64_t> found(1000, 1);
    for_each_block<Nothing>({}, 1, [&](const Block& block, int64_t, Nothing&) {
      block.each_looked_up(
          count, [](int64_t i) { return i * 3 % 5; },
          [&](int64_t at) { return table[static_cast<size_t>(at)]; },
          [&](int64_t i) { return found[static_cast<size_t>(i)]; },
          [&](int64_t i, int64_t value, int64_t before) {
            found[static_cast<size_t>(i)] = before + 100 * value + i * 3 % 5;
          });
    });
    for (int64_t i = 0; i < 1000; ++i)
      CHECK(found[static_cast<size_t>(i)] ==
            (i < count ? 1 + 100 * table[static_cast<size_t>(i * 3 % 5)] + i * 3 % 5 : 1));
  }
}

}  // namespace
}  // namespace dw
