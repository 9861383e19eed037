// See patches.h. Bound by memory in the caches: a patch is read and written once.
#include "kernels/cpu/patches.h"

#include <algorithm>

namespace dw::cpu_backend {
namespace {

/// Copies whole vectors: up to lanes − 1 floats more than `count` are read and written.
void copy_vectors(const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += lanes) store(load(from + i), to + i);
}

/// Writes a run of a patch whose position is near the border: zeros where there is no pixel.
void gather_clipped(const ImageGroup& from, const TapRun& run, int64_t image, int64_t y, int64_t x,
                    float* to) {
  for (int64_t at = 0; at < run.floats; at += lanes) store(Vector{}, to + at);
  const int64_t in_y = y + run.dy, in_x = x + run.dx;
  const int64_t left = std::max<int64_t>(0, -in_x), right = std::min(run.taps, from.width - in_x);
  if (in_y >= 0 && in_y < from.height && left < right)
    std::copy_n(from.pixel(image, in_y, in_x + left), (right - left) * from.group, to + left * from.group);
}

}  // namespace

std::vector<Part> parts_of(const Grid& grid, int64_t longest) {
  const auto taps = static_cast<int64_t>(grid.taps.size());
  const int64_t most = std::clamp<int64_t>(longest / grid.from.group, 1, std::max<int64_t>(taps, 1));
  const int64_t count = (taps + most - 1) / most;
  std::vector<Part> parts;
  for (int64_t i = 0; i < count; ++i) {
    Part part{i * taps / count, (i + 1) * taps / count, 0, {}};
    for (int64_t t = part.first; t < part.end; ++t) {
      const Tap& tap = grid.taps[static_cast<size_t>(t)];
      const bool follows = !part.runs.empty() && grid.from.group == grid.from.channels &&
                           part.runs.back().dy == tap.dy &&
                           part.runs.back().dx + part.runs.back().taps == tap.dx;
      if (follows)
        ++part.runs.back().taps;
      else
        part.runs.push_back(
            {tap.dy, tap.dx, 1, 0, (tap.dy * grid.from.width + tap.dx) * grid.from.channels, part.depth});
      part.runs.back().floats += grid.from.group;
      part.depth += grid.from.group;
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

void gather(const Grid& grid, const Part& part, int64_t first, int64_t count, float* patches) {
  const ImageGroup& from = grid.from;
  const int64_t stride = part.stride();
  int64_t top = 0, bottom = 0, left = 0, right = 0, reach = 0;
  for (const TapRun& run : part.runs) {
    top = std::min(top, run.dy);
    bottom = std::max(bottom, run.dy);
    left = std::min(left, run.dx);
    right = std::max(right, run.dx + run.taps - 1);
    reach = std::max(reach, run.offset + run.floats + lanes);
  }
  int64_t x = first % grid.width, y = first / grid.width % grid.height;
  int64_t image = first / (grid.width * grid.height);
  for (int64_t i = 0; i < count; ++i, patches += stride) {
    const int64_t in_y = y * grid.step, in_x = x * grid.step;
    const bool inside =
        in_y + top >= 0 && in_y + bottom < from.height && in_x + left >= 0 && in_x + right < from.width;
    const float* pixel = inside ? from.pixel(image, in_y, in_x) : nullptr;
    if (inside && pixel + reach <= from.end()) {
      for (const TapRun& run : part.runs) copy_vectors(pixel + run.offset, run.floats, patches + run.column);
    } else {
      for (const TapRun& run : part.runs) gather_clipped(from, run, image, in_y, in_x, patches + run.column);
    }
    if (++x < grid.width) continue;
    x = 0;
    if (++y < grid.height) continue;
    y = 0;
    ++image;
  }
}

Patches patches_of(const Grid& grid, const Part& part, int64_t first, int64_t count, float* scratch) {
  if (grid.is_images()) return {grid.from.data + first * grid.from.channels, grid.from.channels};
  gather(grid, part, first, count, scratch);
  return {scratch, part.stride()};
}

}  // namespace dw::cpu_backend
