// The memory pool: reuse, splitting, coalescing, statistics, alignment and misuse, on a counting source.
#include <cstdlib>
#include <thread>

#include "kernels/memory_pool.h"
#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

constexpr size_t mebibyte = size_t{1} << 20;

/// Memory that can run out.
struct Source {
  static inline size_t segments = 0, requests = 0, available = SIZE_MAX;
  static inline std::map<void*, size_t> sizes;
  static void* allocate(int, size_t bytes) {
    ++requests;
    if (bytes > available) return nullptr;
    void* data = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    ++segments;
    available -= bytes;
    sizes[data] = bytes;
    return data;
  }
  static void release(int, void* data) {
    --segments;
    available += sizes.at(data);
    sizes.erase(data);
    std::free(data);
  }
  static MemoryPool pool(size_t available_bytes = size_t{1} << 40, bool caching = true) {
    segments = requests = 0;
    available = available_bytes;
    return MemoryPool(cpu, 256, {allocate, release}, caching);
  }
};

TEST_CASE("memory pool: small requests share a segment and coalesce again") {
  {
    MemoryPool pool = Source::pool();
    std::vector<void*> blocks;
    for (size_t i = 0; i < 100; ++i) {
      blocks.push_back(pool.allocate(1 + i * 50));
      CHECK(reinterpret_cast<uintptr_t>(blocks.back()) % 256 == 0);
    }
    CHECK(Source::requests == 1);
    for (size_t i = 0; i < 100; i += 2) pool.release(blocks[i]);
    for (size_t i = 1; i < 100; i += 2) pool.release(blocks[i]);
    CHECK(pool.statistics().in_use == 0);
    void* first = pool.allocate(mebibyte);
    void* second = pool.allocate(mebibyte);
    CHECK(Source::requests == 1);
    pool.release(first);
    pool.release(second);
  }
  CHECK(Source::segments == 0);
}

TEST_CASE("memory pool: medium requests share a segment and coalesce again") {
  MemoryPool pool = Source::pool();
  std::vector<void*> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back(pool.allocate(12 * mebibyte));
  CHECK(Source::requests == 1);
  for (void* block : blocks) pool.release(block);
  CHECK(pool.allocate(100 * mebibyte) == blocks[0]);
  CHECK(Source::requests == 1);
}

TEST_CASE("memory pool: where a shared segment has no room, a block gets what it needs") {
  MemoryPool pool = Source::pool(20 * mebibyte);
  void* block = pool.allocate(12 * mebibyte);
  CHECK(pool.statistics().reserved == 12 * mebibyte);
  pool.release(block);
}

TEST_CASE("memory pool: blocks in use never overlap") {
  MemoryPool pool = Source::pool();
  std::map<std::byte*, size_t> used;
  size_t in_use = 0;
  for (uint64_t i = 0; i < 4000; ++i) {
    const PhiloxWords random = philox({1}, i);
    if (used.size() > 60 || (random.word[0] % 3 == 0 && !used.empty())) {
      const auto victim = std::next(used.begin(), random.word[1] % used.size());
      for (const size_t at : {size_t{0}, victim->second - 1})
        REQUIRE(victim->first[at] == static_cast<std::byte>(victim->second % 251));
      in_use -= (victim->second + 255) / 256 * 256;
      pool.release(victim->first);
      used.erase(victim);
    } else {
      const size_t bytes = 1 + random.word[2] % (random.word[3] % 4 == 0 ? 5 * mebibyte : 60000);
      auto* data = static_cast<std::byte*>(pool.allocate(bytes));
      const auto next = used.lower_bound(data);
      REQUIRE((next == used.end() || data + bytes <= next->first));
      REQUIRE((next == used.begin() || std::prev(next)->first + std::prev(next)->second <= data));
      data[0] = data[bytes - 1] = static_cast<std::byte>(bytes % 251);
      used[data] = bytes;
      in_use += (bytes + 255) / 256 * 256;
    }
    REQUIRE(pool.statistics().in_use == in_use);
  }
  CHECK(pool.statistics().peak <= pool.statistics().reserved);
}

TEST_CASE("memory pool: a large segment is split, joined and reused across sizes") {
  MemoryPool pool = Source::pool();
  void* whole = pool.allocate(32 * mebibyte);
  pool.release(whole);
  void* a = pool.allocate(10 * mebibyte);
  void* b = pool.allocate(20 * mebibyte);
  CHECK(Source::requests == 1);
  CHECK(pool.statistics().peak == 32 * mebibyte);
  pool.reset_peak();
  CHECK(pool.statistics().peak == 30 * mebibyte);
  pool.release(a);
  pool.release(b);
  CHECK(pool.allocate(32 * mebibyte) == whole);
  CHECK(Source::requests == 1);
}

TEST_CASE("memory pool: the smallest block that fits is taken") {
  MemoryPool pool = Source::pool();
  void* large = pool.allocate(60 * mebibyte);
  void* medium = pool.allocate(40 * mebibyte);
  pool.release(large);
  pool.release(medium);
  CHECK(pool.allocate(38 * mebibyte) == medium);
  CHECK(pool.allocate(60 * mebibyte) == large);
}

TEST_CASE("memory pool: memory that ran out is first returned, then an error that says so") {
  MemoryPool pool = Source::pool(64 * mebibyte);
  void* kept = pool.allocate(16 * mebibyte);
  pool.release(pool.allocate(40 * mebibyte));
  void* other = pool.allocate(48 * mebibyte);
  CHECK(pool.statistics().reserved == 64 * mebibyte);
  CHECK_THROWS_WITH_AS(
      pool.allocate(3 * mebibyte),
      "out of memory on cpu: 3.0 MiB more were requested, 64.0 MiB are in use and 64.0 MiB reserved", Error);
  CHECK_THROWS_AS(pool.allocate(SIZE_MAX), Error);
  CHECK_THROWS_AS(pool.allocate(SIZE_MAX / 4), Error);
  pool.release(kept);
  pool.release_cached();
  CHECK(pool.statistics().reserved == 48 * mebibyte);
  pool.release(other);
}

TEST_CASE("memory pool: frozen, it serves from its cache only") {
  MemoryPool pool = Source::pool();
  void* block = pool.allocate(8 * mebibyte);
  pool.release(block);
  pool.set_frozen(true);
  CHECK(pool.allocate(8 * mebibyte) == block);
  CHECK_THROWS_AS(pool.allocate(128 * mebibyte), FrozenPoolError);
  pool.release(block);
  pool.release_cached();
  CHECK(Source::segments == 1);
  pool.set_frozen(false);
  pool.release_cached();
  CHECK(Source::segments == 0);
}

TEST_CASE("memory pool: without a cache every block is the source's own, of exactly its size") {
  MemoryPool pool = Source::pool(64 * mebibyte, false);
  void* first = pool.allocate(1000);
  void* second = pool.allocate(1);
  CHECK(Source::segments == 2);
  CHECK(pool.statistics().reserved == 1001);
  CHECK(pool.owns(static_cast<std::byte*>(first) + 999));
  CHECK_FALSE(pool.owns(static_cast<std::byte*>(first) + 1000));
  pool.release(first);
  CHECK(Source::segments == 1);
  CHECK_THROWS_AS(pool.release(first), Error);
  pool.release(second);
  CHECK(pool.statistics().reserved == 0);
  pool.set_frozen(true);
  CHECK_THROWS_AS(pool.allocate(8), FrozenPoolError);
}

TEST_CASE("memory pool: releasing twice or releasing another address is an error") {
  MemoryPool pool = Source::pool();
  auto* block = static_cast<std::byte*>(pool.allocate(1000));
  CHECK_THROWS_AS(pool.release(block + 256), Error);
  CHECK_THROWS_AS(pool.release(&pool), Error);
  pool.release(block);
  CHECK_THROWS_AS(pool.release(block), Error);
  CHECK_THROWS_AS(pool.allocate(0), Error);
}

TEST_CASE("memory pool: many threads at once") {
  MemoryPool pool = Source::pool();
  const auto work = [&pool](uint64_t seed) {
    for (uint64_t i = 0; i < 2000; ++i) {
      const size_t bytes = 8 + philox({seed}, i).word[0] % 100000;
      auto* data = static_cast<uint64_t*>(pool.allocate(bytes));
      *data = seed * 10000 + i;
      if (*data != seed * 10000 + i) std::abort();
      pool.release(data);
    }
  };
  std::thread one(work, 1), two(work, 2), three(work, 3);
  one.join();
  two.join();
  three.join();
  CHECK(pool.statistics().in_use == 0);
}

}  // namespace
}  // namespace dw
