// How blocks of the block executor divide a channels-last [rows, channels] matrix, and reduce over its rows
// in an order that depends on the shape alone: lanes to entries of shared memory, these to one entry a
// channel and chunk of rows, and chunks to one entry a channel. An entry has `void merge(const Entry&)`, to
// which one of no values, as it is made, adds nothing.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/block.h"

namespace dw::DEEPWATER_BACKEND {

/// `width` neighbouring channels, read and written as one word of up to 16 bytes. It stays as it was read
/// until a channel is asked for: taken apart at once, a load would be waited for before the next one starts.
template <typename T, int width>
struct alignas(sizeof(T) * width) Pack {
  using Word = std::conditional_t<sizeof(T) * width % 4 == 0, uint32_t, uint16_t>;
  static constexpr int words = static_cast<int>(sizeof(T) * width / sizeof(Word));
  Word word[words];

  HD T operator[](int c) const {
    if constexpr (sizeof(T) == 8)
      return std::bit_cast<T>(word[2 * c] | static_cast<uint64_t>(word[2 * c + 1]) << 32);
    else if constexpr (sizeof(T) == sizeof(Word))
      return std::bit_cast<T>(word[c]);
    else
      return std::bit_cast<T>(static_cast<uint16_t>(word[c / 2] >> (c % 2 * 16)));
  }
  /// Channels are set in order.
  HD void set(int c, T value) {
    if constexpr (sizeof(T) == 8) {
      const auto bits = std::bit_cast<uint64_t>(value);
      word[2 * c] = static_cast<Word>(bits);
      word[2 * c + 1] = static_cast<Word>(bits >> 32);
    } else if constexpr (sizeof(T) == sizeof(Word)) {
      word[c] = std::bit_cast<Word>(value);
    } else {
      const auto bits = static_cast<Word>(std::bit_cast<uint16_t>(value));
      word[c / 2] = c % 2 == 0 ? bits : static_cast<Word>(word[c / 2] | bits << 16);
    }
  }
};

/// How blocks divide the matrix. A row is cut into tiles of `tile_packs` packs, the rows into chunks; a block
/// takes one tile of one chunk, and its lanes `slots` rows of that at a time. What lanes divide by is 32 bits
/// wide, as 64-bit division would cost more than their share of the rows.
struct RowTiles {
  int64_t rows = 0, channels = 0, chunk_rows = 1;
  int tile_packs = 1, tiles = 1, slots = 1, chunks = 1;

  int64_t blocks() const { return int64_t{tiles} * chunks; }
  HD int64_t rows_of(int64_t chunk) const {
    const int64_t left = rows - chunk * chunk_rows;
    return left < chunk_rows ? left : chunk_rows;
  }
};

/// Rows that a lane reads before it computes, so that loads overlap.
inline constexpr int rows_at_once = 4;

/// Tiles as wide as keeps nine lanes in ten at work, then chunks for about `block_goal` blocks in all: eight
/// for each processor of an H100 or H200.
inline RowTiles row_tiles(int64_t rows, int64_t channels, int width, int64_t block_goal = 1056) {
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  RowTiles t{.rows = rows, .channels = channels};
  const int64_t packs = channels / width;
  for (int64_t tiles = divide_up(packs, block_lanes);; ++tiles) {
    t.tiles = static_cast<int>(tiles);
    t.tile_packs = static_cast<int>(divide_up(packs, tiles));
    t.slots = block_lanes / t.tile_packs;
    if (t.slots * t.tile_packs * 10 >= block_lanes * 9 || t.tile_packs <= 32) break;
  }
  const int64_t most = divide_up(rows, t.slots * rows_at_once);
  const int64_t chunks = std::clamp<int64_t>(divide_up(block_goal, t.tiles), 1, std::max<int64_t>(most, 1));
  t.chunk_rows = std::max<int64_t>(divide_up(rows, chunks), 1);
  t.chunks = static_cast<int>(std::max<int64_t>(divide_up(rows, t.chunk_rows), 1));
  return t;
}

/// Where a lane of a block works: from `row` in steps of the slots, on `width` channels from `channel`.
template <int width>
struct LanePlace {
  int64_t row = 0, row_end = 0, channel = 0;
  bool active = false;

  HD LanePlace(const RowTiles& t, int64_t block_index, int64_t lane_index) {
    const int index = static_cast<int>(block_index), lane = static_cast<int>(lane_index);
    const int chunk = index / t.tiles, tile = index % t.tiles, slot = lane / t.tile_packs;
    channel = (int64_t{tile} * t.tile_packs + lane % t.tile_packs) * width;
    row = chunk * t.chunk_rows + slot;
    row_end = chunk * t.chunk_rows + t.rows_of(chunk);
    active = slot < t.slots && channel < t.channels;
  }
};

/// `width` values of a matrix or of a row of parameters.
template <int width, typename T>
HD Pack<T, width> read_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, width>*>(from);
}

/// Parameters of neighbouring channels, read before the rows are: from memory that rows are written to, as
/// far as the compiler knows, they would be read again for every row.
template <int width, typename A>
struct Channels {
  A value[width];

  HD Channels(const A* parameters, int64_t channel) {
    for (int c = 0; c < width; ++c) value[c] = parameters[channel + c];
  }
  HD A operator[](int c) const { return value[c]; }
};

/// Where the rows lie that a lane takes at once: `count` of `at_once`; in place of the others stands the
/// first, so that loads need no branch.
template <int at_once, int width>
struct RowGroup {
  int64_t offset[at_once];
  int count = 0;

  HD RowGroup(const RowTiles& tiles, const LanePlace<width>& place, int64_t row) {
    for (int u = 0; u < at_once; ++u) {
      const int64_t next = row + u * tiles.slots;
      const bool inside = next < place.row_end;
      offset[u] = (inside ? next : row) * tiles.channels + place.channel;
      count += inside ? 1 : 0;
    }
  }
};

/// Merges the entries of `groups` groups of `size` into the first group, by halving: entry i of group g lies
/// at entries[g · size + i].
template <typename Entry>
HD void merge_groups(const Block& block, Entry* entries, int groups, int size) {
  int half = 1;
  while (half < groups) half *= 2;
  for (half /= 2; half > 0; half /= 2)
    block.each(half * size, [&](int64_t i) {
      if (i + half * size < groups * size) entries[i].merge(entries[i + half * size]);
    });
}

/// The end of a reduction over rows: `entries` holds every lane's entries of its channels; merged over the
/// slots they go to out[chunk · channels + channel].
template <int width, typename Entry>
HD void merge_slots(const Block& block, int64_t index, const RowTiles& tiles, Entry* entries, Entry* out) {
  const int tile_channels = tiles.tile_packs * width;
  merge_groups(block, entries, tiles.slots, tile_channels);
  block.each(tile_channels, [&](int64_t i) {
    const int64_t channel = index % tiles.tiles * tile_channels + i;
    if (channel < tiles.channels) out[index / tiles.tiles * tiles.channels + channel] = entries[i];
  });
}

/// Channels that a block of finish_chunks() finishes, and the lanes that share one channel: many, for what a
/// lane does one after the other is the time of it all.
inline constexpr int finish_channels = 2, finish_parts = block_lanes / finish_channels;

inline int64_t finish_blocks(int64_t channels) {
  return (channels + finish_channels - 1) / finish_channels;
}

/// Combines the chunks of every channel, in order, and calls finish(channel, entry) for each channel.
template <typename Entry, typename Finish>
HD void finish_chunks(const Block& block, int64_t index, Entry* shared, const RowTiles& tiles,
                      const Entry* partial, const Finish& finish) {
  block.each(block_lanes, [&](int64_t lane) {
    const int64_t channel = index * finish_channels + lane % finish_channels;
    constexpr int at_once = 4;
    Entry entry;
    for (int64_t chunk = lane / finish_channels; channel < tiles.channels && chunk < tiles.chunks;
         chunk += at_once * finish_parts) {
      Entry read[at_once];
      for (int u = 0; u < at_once; ++u)
        if (chunk + u * finish_parts < tiles.chunks)
          read[u] = partial[(chunk + u * finish_parts) * tiles.channels + channel];
      for (int u = 0; u < at_once; ++u) entry.merge(read[u]);
    }
    shared[lane] = entry;
  });
  merge_groups(block, shared, finish_parts, finish_channels);
  block.each(finish_channels, [&](int64_t lane) {
    const int64_t channel = index * finish_channels + lane;
    if (channel < tiles.channels) finish(channel, shared[lane]);
  });
}

}  // namespace dw::DEEPWATER_BACKEND
