// Many dense tensors in one launch: a block takes one stretch of one of them. Include from bodies/*.cpp only.
#pragma once

#include <algorithm>
#include <span>

#include "kernels/block.h"

namespace dw::DEEPWATER_BACKEND {

/// Elements of a tensor that a block takes.
inline constexpr int64_t list_stretch = 4096;

/// Entries travel as arguments of the kernel, of which CUDA takes 32,764 bytes from version 12.1 on.
template <typename Entry>
struct TensorList {
  static constexpr int capacity = static_cast<int>((32764 - 256) / (sizeof(Entry) + sizeof(int32_t)));
  Entry entry[capacity];
  int32_t first_block[capacity];
  int count = 0;

  /// The last entry whose first block is not after `block`.
  HD int entry_of(int64_t block) const {
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_block[middle] <= block ? low : high) = middle;
    }
    return low;
  }
};

struct NothingShared {};

/// Body: `void operator()(const Block&, const Entry&, int64_t begin, int64_t count) const`, for elements
/// [begin, begin + count) of an entry.
template <typename Entry, typename Body>
struct ListBody {
  TensorList<Entry> list;
  Body body;

  HD void operator()(const Block& block, int64_t index, NothingShared&) const {
    const int at = list.entry_of(index);
    const Entry& entry = list.entry[at];
    const int64_t begin = (index - list.first_block[at]) * list_stretch;
    const int64_t left = entry.count - begin;
    body(block, entry, begin, left < list_stretch ? left : list_stretch);
  }
};

/// One launch for up to TensorList::capacity tensors, which is every network here; another for every so many
/// more.
template <typename Entry, typename Body>
void for_each_tensor(Stream stream, std::span<const Entry> entries, const Body& body) {
  static_assert(sizeof(ListBody<Entry, Body>) <= 32764);
  while (!entries.empty()) {
    ListBody<Entry, Body> launch{{}, body};
    const size_t now = std::min<size_t>(entries.size(), TensorList<Entry>::capacity);
    int64_t blocks = 0, elements = 0;
    for (const Entry& entry : entries.first(now)) {
      if (entry.count == 0) continue;
      launch.list.first_block[launch.list.count] = static_cast<int32_t>(blocks);
      launch.list.entry[launch.list.count++] = entry;
      blocks += (entry.count + list_stretch - 1) / list_stretch;
      elements += entry.count;
    }
    for_each_block<NothingShared>(stream, blocks, launch, elements > 2 * list_stretch);
    entries = entries.subspan(now);
  }
}

}  // namespace dw::DEEPWATER_BACKEND
