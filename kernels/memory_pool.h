// A caching memory pool for one device: best fit with splitting and coalescing over larger segments, so that
// a training loop asks the system for memory in its first step only.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "kernels/device.h"

namespace dw {

/// Thread-safe. Requests up to 1 MiB share segments of 2 MiB, those up to 32 MiB segments of 128 MiB, where
/// neighbours that were given back become one block again; a larger one gets a segment of its own (rounded up
/// by at most 1/16, and at least to 64 KiB), which later requests may split. A pool that does not cache
/// asks its source for every block, of exactly that size: sanitizers then see where each ends, and nothing
/// can be captured.
class MemoryPool {
 public:
  /// Memory behind the pool: `allocate` returns null when there is not enough.
  struct Source {
    void* (*allocate)(int device, size_t bytes) = nullptr;
    void (*release)(int device, void* data) = nullptr;
  };

  /// Every block is `alignment` aligned, a power of two that the source's own alignment must be a multiple
  /// of.
  MemoryPool(Device device, size_t alignment, Source source, bool caching = true);
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;
  /// Returns all segments, handed out or not.
  ~MemoryPool();

  /// `bytes` > 0 of uninitialised memory.
  /// Errors: the source has no more, even after cached segments were returned to it. FrozenPoolError: the
  /// pool is frozen and no cached block fits.
  void* allocate(size_t bytes);

  /// Takes back a block of this pool. Error for any other address, or one that was released before.
  void release(void* data);

  /// Whether an address lies in this pool's memory, handed out or not.
  bool owns(const void* address) const;

  /// Returns segments without a block in use to the source. Does nothing while frozen.
  void release_cached();

  /// Hands out every cached block at once, each to be given back with release(): a captured CUDA graph keeps
  /// the memory that its replays write.
  std::vector<void*> take_cached();

  /// While frozen the pool asks its source for nothing: a CUDA graph replays fixed addresses.
  void set_frozen(bool frozen);

  MemoryStatistics statistics() const;
  void reset_peak();

 private:
  struct Block {
    size_t size = 0;
    std::byte* segment = nullptr;  ///< start of the segment it lies in
    bool small = false;            ///< lies in a shared segment
    bool in_use = false;
  };
  using Blocks = std::map<std::byte*, Block>;
  using FreeBlocks = std::set<std::pair<size_t, std::byte*>>;

  FreeBlocks& free_blocks(bool small) { return small ? small_free_ : large_free_; }
  Blocks::iterator grow(size_t size, bool small);
  void return_segment(Blocks::iterator block);
  void return_cached_segments();

  const Device device_;
  const size_t alignment_;
  const Source source_;
  const bool caching_;
  mutable std::mutex mutex_;
  Blocks blocks_;          ///< every byte of every segment, in address order
  FreeBlocks small_free_;  ///< free blocks of shared segments, smallest first
  FreeBlocks large_free_;
  MemoryStatistics statistics_;
  bool frozen_ = false;
};

/// The pool of a device. Lives until the process ends, so that static Buffers may outlive everything else.
/// With DEEPWATER_POOL=off in the environment it does not cache.
MemoryPool& memory_pool(Device device);

}  // namespace dw
