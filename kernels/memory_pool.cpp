// See memory_pool.h.
#include "kernels/memory_pool.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string_view>

#include "kernels/table.h"

namespace dw {
namespace {

constexpr size_t kibibyte = 1024, mebibyte = 1024 * kibibyte;
constexpr size_t small_request = mebibyte;
constexpr size_t small_segment = 2 * mebibyte;
constexpr size_t medium_request = 32 * mebibyte;
constexpr size_t medium_segment = 128 * mebibyte;

size_t round_up(size_t size, size_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

size_t segment_size(size_t size, bool small) {
  if (small) return small_segment;
  if (size <= medium_request) return medium_segment;
  return round_up(size, std::clamp(std::bit_floor(size / 16), 64 * kibibyte, 2 * mebibyte));
}

std::string in_mebibytes(size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / static_cast<double>(mebibyte));
}

}  // namespace

MemoryPool::MemoryPool(Device device, size_t alignment, Source source, bool caching)
    : device_(device), alignment_(alignment), source_(source), caching_(caching) {}

MemoryPool::~MemoryPool() {
  for (const auto& [address, block] : blocks_)
    if (address == block.segment) source_.release(device_.index, address);
}

void* MemoryPool::allocate(size_t bytes) {
  require(bytes > 0, "memory pool of {}: a request of 0 bytes", to_string(device_));
  require(bytes <= SIZE_MAX / 2, "out of memory on {}: {} bytes were requested", to_string(device_), bytes);
  const std::lock_guard lock(mutex_);
  const size_t size = caching_ ? round_up(bytes, alignment_) : bytes;
  const bool small = size <= small_request;
  const auto fit = free_blocks(small).lower_bound({size, nullptr});
  Blocks::iterator block;
  if (fit != free_blocks(small).end()) {
    block = blocks_.find(fit->second);
    free_blocks(small).erase(fit);
  } else {
    block = grow(size, small);
  }
  const size_t rest = block->second.size - size;
  if (rest > 0) {
    std::byte* rest_address = block->first + size;
    blocks_.emplace_hint(std::next(block), rest_address, Block{rest, block->second.segment, small, false});
    free_blocks(small).emplace(rest, rest_address);
    block->second.size = size;
  }
  block->second.in_use = true;
  statistics_.in_use += size;
  statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
  return block->first;
}

MemoryPool::Blocks::iterator MemoryPool::grow(size_t size, bool small) {
  if (frozen_)
    throw FrozenPoolError(fmt::format("memory pool of {} is frozen and holds no free block of {} bytes",
                                      to_string(device_), size));
  size_t segment = caching_ ? segment_size(size, small) : size;
  void* data = source_.allocate(device_.index, segment);
  if (data == nullptr) {
    return_cached_segments();
    data = source_.allocate(device_.index, segment);
  }
  if (data == nullptr && segment > size) {
    segment = size;  // no room for more than was asked for
    data = source_.allocate(device_.index, segment);
  }
  require(data != nullptr, "out of memory on {}: {} more were requested, {} are in use and {} reserved",
          to_string(device_), in_mebibytes(size), in_mebibytes(statistics_.in_use),
          in_mebibytes(statistics_.reserved));
  statistics_.reserved += segment;
  auto* address = static_cast<std::byte*>(data);
  return blocks_.emplace(address, Block{segment, address, small, false}).first;
}

void MemoryPool::release(void* data) {
  const std::lock_guard lock(mutex_);
  auto block = blocks_.find(static_cast<std::byte*>(data));
  require(block != blocks_.end() && block->second.in_use,
          "memory pool of {}: released an address that is not in use", to_string(device_));
  statistics_.in_use -= block->second.size;
  block->second.in_use = false;
  if (!caching_) return return_segment(block);
  auto& free = free_blocks(block->second.small);
  const auto absorb_next = [&](Blocks::iterator first) {
    const auto next = std::next(first);
    if (next == blocks_.end() || next->second.in_use || next->second.segment != first->second.segment) return;
    free.erase({next->second.size, next->first});
    first->second.size += next->second.size;
    blocks_.erase(next);
  };
  absorb_next(block);
  if (block != blocks_.begin()) {
    const auto previous = std::prev(block);
    if (!previous->second.in_use && previous->second.segment == block->second.segment) {
      free.erase({previous->second.size, previous->first});
      absorb_next(previous);
      block = previous;
    }
  }
  free.emplace(block->second.size, block->first);
}

bool MemoryPool::owns(const void* address) const {
  const std::lock_guard lock(mutex_);
  auto* place = static_cast<std::byte*>(const_cast<void*>(address));
  const auto after = blocks_.upper_bound(place);
  return after != blocks_.begin() && place < std::prev(after)->first + std::prev(after)->second.size;
}

void MemoryPool::release_cached() {
  const std::lock_guard lock(mutex_);
  if (!frozen_) return_cached_segments();
}

void MemoryPool::return_cached_segments() {
  for (auto block = blocks_.begin(); block != blocks_.end();) {
    const auto next = std::next(block);
    const bool whole = block->first == block->second.segment &&
                       (next == blocks_.end() || next->second.segment != block->second.segment);
    if (whole && !block->second.in_use) {
      free_blocks(block->second.small).erase({block->second.size, block->first});
      return_segment(block);
    }
    block = next;
  }
}

void MemoryPool::return_segment(Blocks::iterator block) {
  statistics_.reserved -= block->second.size;
  source_.release(device_.index, block->first);
  blocks_.erase(block);
}

std::vector<void*> MemoryPool::take_cached() {
  const std::lock_guard lock(mutex_);
  std::vector<void*> taken;
  for (FreeBlocks* free : {&small_free_, &large_free_}) {
    for (const auto& [size, address] : *free) {
      blocks_.at(address).in_use = true;
      statistics_.in_use += size;
      taken.push_back(address);
    }
    free->clear();
  }
  statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
  return taken;
}

void MemoryPool::set_frozen(bool frozen) {
  const std::lock_guard lock(mutex_);
  frozen_ = frozen;
}

MemoryStatistics MemoryPool::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

void MemoryPool::reset_peak() {
  const std::lock_guard lock(mutex_);
  statistics_.peak = statistics_.in_use;
}

MemoryPool& memory_pool(Device device) {
  static auto& mutex = *new std::mutex;
  static auto& pools = *new std::map<Device, std::unique_ptr<MemoryPool>>;
  const std::lock_guard lock(mutex);
  auto& pool = pools[device];
  if (pool == nullptr) {
    const KernelTable& table = kernels(device);
    const size_t alignment = device.type == DeviceType::cpu ? 64 : 256;
    const char* setting = std::getenv("DEEPWATER_POOL");
    const bool caching = setting == nullptr || std::string_view(setting) != "off";
    pool = std::make_unique<MemoryPool>(device, alignment,
                                        MemoryPool::Source{table.raw_allocate, table.raw_release}, caching);
  }
  return *pool;
}

}  // namespace dw
