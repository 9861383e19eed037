// The block executor's phases on the CPU: every index once, reductions and scans of any length.
#include "kernels/block.h"

#include <vector>

#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

using cpu_backend::Block;
using cpu_backend::for_each_block;
using cpu_backend::LaneValues;

struct Shared {
  LaneValues<int64_t> lanes;
  int64_t data[2000];
};

TEST_CASE("block executor: reduce and scan of any length") {
  for (const int64_t count : {0, 1, 2, 255, 256, 257, 511, 512, 1000, 2000}) {
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

}  // namespace
}  // namespace dw
