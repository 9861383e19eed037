// Patches: the inputs that an output of a convolution sees, gathered as rows of a matrix.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/matrix_tile.h"

namespace dw::cpu_backend {

inline constexpr int64_t most_depth = 1024;  ///< floats of a patch that are multiplied at once

/// NHWC images, of which a group of channels is used.
struct ImageGroup {
  const float* data;
  int64_t batch, height, width, channels, first_channel, group;

  const float* end() const { return data + batch * height * width * channels; }
  const float* pixel(int64_t image, int64_t y, int64_t x) const {
    return data + ((image * height + y) * width + x) * channels + first_channel;
  }
};

/// One element of a filter: which, and where it lies relative to a patch's position.
struct Tap {
  int64_t index, dy, dx;
};

/// Neighbouring taps whose inputs lie side by side, `offset` floats from a patch's position, and where they
/// go in the patch.
struct TapRun {
  int64_t dy, dx, taps, floats, offset, column;
};

/// Patches of a grid of positions (y, x) · step in every image.
struct Grid {
  ImageGroup from;
  int64_t height, width, step;
  std::vector<Tap> taps;

  int64_t positions() const { return from.batch * height * width; }
  int64_t depth() const { return static_cast<int64_t>(taps.size()) * from.group; }
  /// Whether a patch is one pixel, so that the images are the matrix already.
  bool is_images() const {
    return taps.size() == 1 && taps[0].dy == 0 && taps[0].dx == 0 && step == 1 && height == from.height &&
           width == from.width && from.group == from.channels && from.group % lanes == 0;
  }
};

/// Taps [first, end) of a grid: the part of a patch that is gathered and multiplied at once.
struct Part {
  int64_t first, end, depth;
  std::vector<TapRun> runs;

  /// Floats from one patch to the next: room for a run's last vector, and not a multiple of many cache sets.
  int64_t stride() const { return round_up(depth, lanes) + lanes; }
};

/// A grid's taps in parts of about equal size, at most `longest` floats each (but at least a tap).
std::vector<Part> parts_of(const Grid& grid, int64_t longest = most_depth);

/// Writes a part of the patches at positions [first, first + count); `stride` from one to the next.
void gather(const Grid& grid, const Part& part, int64_t first, int64_t count, float* patches);

/// Patches as rows of a matrix, `stride` floats apart.
struct Patches {
  const float* data;
  int64_t stride;
};

/// A part of the patches of a block, gathered in `scratch` where that is needed.
Patches patches_of(const Grid& grid, const Part& part, int64_t first, int64_t count, float* scratch);

}  // namespace dw::cpu_backend
