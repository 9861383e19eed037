// Convolution in single precision as a matrix product: the inputs that an output sees, its patch, become a
// row of a matrix that is multiplied by the filters. Blocks of patches are gathered where they stay in the
// second-level cache. The gradient of the inputs is a convolution too, of the gradient of the outputs: with
// stride s one for each of the s · s positions of an input between the outputs.
// Floor: 2 · outputs · filter size flops a pass at the machine's rate; bytes matter for 1x1 filters only.
// What is summed in which order depends on the shape alone, so the thread count changes no bit.
#include "kernels/cpu/convolution_patches.h"

#include <omp.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cpu/float_buffer.h"
#include "kernels/cpu/patches.h"

namespace dw::cpu_backend {
namespace {

constexpr int64_t serial_patches =
    2 * serial_products;                    ///< as patches have to be gathered, or filters packed
constexpr int64_t patch_floats = 48 << 10;  ///< of a block: a part of the second-level cache

/// Positions of a block.
int64_t block_positions(const Grid& grid, int64_t stride) {
  const int64_t fitting = std::clamp<int64_t>(patch_floats / stride, tile_rows, int64_t{16} * tile_rows);
  const int64_t for_many_threads = grid.positions() / 64 + 1;
  return round_up(std::min(fitting, for_many_threads), tile_rows);
}

/// Where the results of a grid go: channels [first, first + group) of the pixels (y, x) · step + start.
struct Destination {
  float* data;
  int64_t height, width, channels, first_channel, group;
  int64_t step, start_y, start_x;

  /// Whether results lie in memory as a product's rows do.
  bool is_dense() const { return step == 1 && group == channels && group % lanes == 0; }
};

/// Copies the rows of a product to the pixels they belong to.
void scatter(const Grid& grid, const Destination& to, int64_t first, int64_t count, const float* rows,
             int64_t stride) {
  int64_t x = first % grid.width, y = first / grid.width % grid.height;
  int64_t image = first / (grid.width * grid.height);
  for (int64_t i = 0; i < count; ++i, rows += stride) {
    const int64_t pixel =
        (image * to.height + y * to.step + to.start_y) * to.width + x * to.step + to.start_x;
    float* at = to.data + pixel * to.channels + to.first_channel;
    // A whole vector where what it writes too much is written again by the rows that follow.
    const bool whole = to.step == 1 && to.group == to.channels && to.group < lanes;
    if (whole && (count - i) * to.group >= lanes)
      store(load(rows), at);
    else
      std::copy_n(rows, to.group, at);
    if (++x < grid.width) continue;
    x = 0;
    if (++y < grid.height) continue;
    y = 0;
    ++image;
  }
}

/// Filters as the product reads them: part by part, in panels of columns, those row by row.
/// `value(tap, input, output)` is an element; columns are rounded up to whole vectors.
template <typename Value>
void pack_filters(const Grid& grid, const std::vector<Part>& parts, int64_t outputs, const Value& value,
                  float* packed) {
  const int64_t columns = round_up(outputs, lanes);
  for (const Part& part : parts) {
#pragma omp for nowait
    for (int64_t column = 0; column < columns; column += lanes) {
      const int64_t paired = columns / (2 * lanes) * (2 * lanes);
      const int64_t panel = column < paired ? 2 * lanes : lanes;
      float* to = packed + column / panel * panel * part.depth + column % panel;
      for (int64_t t = part.first; t < part.end; ++t)
        for (int64_t input = 0; input < grid.from.group; ++input, to += panel)
          for (int64_t lane = 0; lane < lanes; ++lane)
            to[lane] = column + lane < outputs
                           ? value(grid.taps[static_cast<size_t>(t)].index, input, column + lane)
                           : 0.0F;
    }
    packed += part.depth * columns;
  }
#pragma omp barrier
}

/// Every result of a grid: its patch times the filters.
template <typename Value>
void convolve(const Grid& grid, const Value& value, const Destination& to) {
  const std::vector<Part> parts = parts_of(grid);
  const int64_t columns = round_up(to.group, lanes), positions = grid.positions();
  int64_t stride = lanes;
  for (const Part& part : parts) stride = std::max(stride, part.stride());
  const int64_t block = block_positions(grid, stride);
  const int64_t per_thread = block * (stride + columns);
  const Buffer packed = float_buffer(grid.depth() * columns + lanes);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel if (positions * grid.depth() * columns > serial_patches)
  {
    pack_filters(grid, parts, to.group, value, floats(packed));
    float* patches = floats(scratch) + per_thread * omp_get_thread_num();
    float* products = patches + block * stride;
#pragma omp for schedule(static) nowait
    for (int64_t first = 0; first < positions; first += block) {
      const int64_t count = std::min(block, positions - first);
      float* rows = to.is_dense() ? to.data + first * to.channels : products;
      const float* filters = floats(packed);
      for (const Part& part : parts) {
        const Patches left = patches_of(grid, part, first, count, patches);
        for_each_panel(columns, [&](int64_t column, auto vectors) {
          constexpr int width = decltype(vectors)::value;
          multiply_rows<width>({part.depth, 1, width * lanes}, {count, left.stride, columns}, left.data,
                               filters + column * part.depth, rows + column, &part != parts.data());
        });
        filters += part.depth * columns;
      }
      if (!to.is_dense()) scatter(grid, to, first, count, rows, columns);
    }
  }
}

/// Whether so few positions share the filters that rearranging these would cost more than rearranging
/// patches.
bool are_few(const Grid& grid, int64_t outputs) {
  return grid.positions() <= std::min<int64_t>(512, 8 * outputs) && grid.from.group == grid.from.channels &&
         grid.from.group % lanes == 0;
}

/// Where the windows of a vector of positions begin, those from `first` on; from position `end` on nowhere.
struct Windows {
  static constexpr int64_t nowhere = std::numeric_limits<int64_t>::min() / 2;
  int64_t image[lanes], y[lanes], x[lanes];

  Windows(const Grid& grid, int64_t first, int64_t end) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t position = first + lane;
      image[lane] = position / (grid.width * grid.height);
      y[lane] = position < end ? position / grid.width % grid.height * grid.step : nowhere;
      x[lane] = position % grid.width * grid.step;
    }
  }
};

/// What a tap sees there: [channels][positions], rows `stride` floats apart, zeros where there is no pixel.
void gather_transposed(const Grid& grid, const Tap& tap, const Windows& windows, float* to, int64_t stride) {
  const float* pixels[lanes];
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t y = windows.y[lane] + tap.dy, x = windows.x[lane] + tap.dx;
    const bool inside = y >= 0 && y < grid.from.height && x >= 0 && x < grid.from.width;
    pixels[lane] = inside ? grid.from.pixel(windows.image[lane], y, x) : nullptr;
  }
  for (int64_t channel = 0; channel < grid.from.group; channel += lanes) {
    Vector rows[lanes];
    for (int lane = 0; lane < lanes; ++lane)
      rows[lane] = pixels[lane] != nullptr ? load(pixels[lane] + channel) : Vector{};
    transpose(rows);
    for (const Vector& row : rows) {
      store(row, to);
      to += stride;
    }
  }
}

/// Rows [outputs][stride] of a panel's results, `count` positions wide, to where those of a position lie side
/// by side, `to_stride` floats from one position to the next.
void scatter_transposed(const float* rows, int64_t outputs, int64_t stride, int64_t count, float* to,
                        int64_t to_stride) {
  int64_t output = 0;
  for (; output + lanes <= outputs; output += lanes)
    for (int64_t first = 0; first < count; first += lanes) {
      Vector block[lanes];
      for (int lane = 0; lane < lanes; ++lane) block[lane] = load(rows + (output + lane) * stride + first);
      transpose(block);
      for (int64_t i = 0; i < std::min(lanes, count - first); ++i)
        store(block[i], to + (first + i) * to_stride + output);
    }
  for (; output < outputs; ++output)
    for (int64_t i = 0; i < count; ++i) to[i * to_stride + output] = rows[output * stride + i];
}

/// What convolve computes, from filters as they lie, [outputs][depth], and transposed patches: [depth][panel]
/// for a panel of positions. Every thread gathers those that it multiplies itself, for what another core has
/// just written comes slowly.
void convolve_few(const Grid& grid, const float* filters, int64_t outputs, float* out) {
  constexpr int64_t widest = 2 * lanes;
  const int64_t positions = grid.positions(), depth = grid.depth();
  const int64_t panels = (positions + widest - 1) / widest, tiles = (outputs + tile_rows - 1) / tile_rows;
  const int64_t per_thread = widest * (depth + tiles * tile_rows);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel if (positions * depth * outputs > serial_patches)
  {
    float* patches = floats(scratch) + per_thread * omp_get_thread_num();
    float* sums = patches + widest * depth;
    const int64_t end = (omp_get_thread_num() + 1) * panels * tiles / omp_get_num_threads();
    int64_t item = omp_get_thread_num() * panels * tiles / omp_get_num_threads();
    while (item < end) {
      const int64_t panel = item / tiles, tile = item % tiles, count = std::min(tiles - tile, end - item);
      const int64_t first = panel * widest, own = std::min(widest, positions - first);
      const int64_t output = tile * tile_rows, rows = std::min(count * tile_rows, outputs - output);
      for_each_panel(round_up(own, lanes), [&](int64_t, auto vectors) {
        constexpr int64_t width = decltype(vectors)::value * lanes;
        for (int64_t beside = 0; beside < width; beside += lanes) {
          const Windows windows(grid, first + beside, positions);
          float* to = patches + beside;
          for (const Tap& tap : grid.taps) {
            gather_transposed(grid, tap, windows, to, width);
            to += grid.from.group * width;
          }
        }
        // No more rows at once than two vectors take: filters often lie powers of two apart, and more of them
        // would not find room in the first-level cache.
        for (int64_t row = 0; row < rows; row += tile_rows)
          multiply_rows<decltype(vectors)::value>(
              {depth, 1, width}, {std::min<int64_t>(tile_rows, rows - row), depth, width},
              filters + (output + row) * depth, patches, sums + row * width);
        scatter_transposed(sums, rows, width, own, out + first * outputs + output, outputs);
      });
      item += count;
    }
  }
}

std::vector<Tap> forward_taps(const ConvShape& s) {
  std::vector<Tap> taps;
  for (int64_t ky = 0; ky < s.kernel_height; ++ky)
    for (int64_t kx = 0; kx < s.kernel_width; ++kx)
      taps.push_back({ky * s.kernel_width + kx, ky * s.dilation - s.padding, kx * s.dilation - s.padding});
  return taps;
}

ImageGroup inputs_of(const ConvShape& s, const float* in, int64_t group) {
  const int64_t inputs = s.in_channels / s.groups;
  return {in, s.batch, s.in_height, s.in_width, s.in_channels, group * inputs, inputs};
}

ImageGroup outputs_of(const ConvShape& s, const float* out, int64_t group) {
  const int64_t outputs = s.out_channels / s.groups;
  return {out, s.batch, s.out_height(), s.out_width(), s.out_channels, group * outputs, outputs};
}

}  // namespace

void patches_forward(const ConvShape& s, const float* in, const float* weight, float* out) {
  const int64_t taps = s.kernel_height * s.kernel_width;
  for (int64_t group = 0; group < s.groups; ++group) {
    const ImageGroup from = inputs_of(s, in, group), to = outputs_of(s, out, group);
    const Grid grid{from, to.height, to.width, s.stride, forward_taps(s)};
    if (are_few(grid, to.channels) && s.groups == 1) {
      convolve_few(grid, weight, to.channels, out);
      continue;
    }
    convolve(grid,
             [&](int64_t tap, int64_t input, int64_t output) {
               return weight[((to.first_channel + output) * taps + tap) * from.group + input];
             },
             {out, to.height, to.width, to.channels, to.first_channel, to.group, 1, 0, 0});
  }
}

void patches_backward_data(const ConvShape& s, const float* out_gradient, const float* weight,
                           float* in_gradient) {
  const int64_t taps = s.kernel_height * s.kernel_width;
  if (std::min(s.kernel_height, s.kernel_width) < s.stride || s.dilation > 1)  // some inputs meet no output
    std::fill_n(in_gradient, s.batch * s.in_height * s.in_width * s.in_channels, 0.0F);
  for (int64_t group = 0; group < s.groups; ++group) {
    const ImageGroup from = outputs_of(s, out_gradient, group), to = inputs_of(s, in_gradient, group);
    const auto weight_at = [&](int64_t tap, int64_t output, int64_t input) {
      return weight[((from.first_channel + output) * taps + tap) * to.group + input];
    };
    for (int64_t start_y = 0; start_y < std::min(s.stride, s.in_height); ++start_y)
      for (int64_t start_x = 0; start_x < std::min(s.stride, s.in_width); ++start_x) {
        Grid grid{from,
                  (s.in_height - start_y + s.stride - 1) / s.stride,
                  (s.in_width - start_x + s.stride - 1) / s.stride,
                  1,
                  {}};
        // Input y = start_y + stride · j meets the outputs j + dy whose tap ky reaches it.
        for (int64_t ky = s.kernel_height; ky-- > 0;)
          for (int64_t kx = s.kernel_width; kx-- > 0;) {
            const int64_t y = start_y + s.padding - ky * s.dilation,
                          x = start_x + s.padding - kx * s.dilation;
            if (y % s.stride == 0 && x % s.stride == 0)
              grid.taps.push_back({ky * s.kernel_width + kx, y / s.stride, x / s.stride});
          }
        if (!grid.taps.empty())
          convolve(grid, weight_at,
                   {in_gradient, to.height, to.width, to.channels, to.first_channel, to.group, s.stride,
                    start_y, start_x});
      }
  }
}

void patches_backward_weight(const ConvShape& s, const float* in, const float* out_gradient,
                             float* weight_gradient) {
  const int64_t taps = s.kernel_height * s.kernel_width, outputs = s.out_channels / s.groups;
  for (int64_t group = 0; group < s.groups; ++group) {
    const Grid grid{inputs_of(s, in, group), s.out_height(), s.out_width(), s.stride, forward_taps(s)};
    const std::vector<Part> parts = parts_of(grid);
    const auto part_count = static_cast<int64_t>(parts.size());
    int64_t stride = 0, most_columns = 0;
    for (const Part& part : parts) {
      stride = std::max(stride, part.stride());
      most_columns = std::max(most_columns, round_up(part.depth, lanes));
    }
    // Stretches of positions are summed apart, then in order: enough for many threads, as memory allows.
    const int64_t positions = grid.positions(), block = block_positions(grid, stride);
    const int64_t blocks = (positions + block - 1) / block, count = outputs * most_columns;
    const int64_t stretches = std::min(blocks, std::clamp<int64_t>((1 << 19) / (count * part_count), 2, 32));
    const Buffer sums = float_buffer(stretches * part_count * count);
    const Buffer scratch = float_buffer(block * stride * omp_get_max_threads());
    const float* gradients = out_gradient + group * outputs;
#pragma omp parallel if (positions * grid.depth() * outputs > serial_patches)
    {
      float* patches = floats(scratch) + block * stride * omp_get_thread_num();
#pragma omp for schedule(static)
      for (int64_t item = 0; item < stretches * part_count; ++item) {
        const Part& part = parts[static_cast<size_t>(item % part_count)];
        const int64_t stretch = item / part_count, columns = round_up(part.depth, lanes);
        const int64_t begin = stretch * blocks / stretches, end = (stretch + 1) * blocks / stretches;
        for (int64_t at = begin; at < end; ++at) {
          const int64_t first = at * block, length = std::min(block, positions - first);
          const Patches right = patches_of(grid, part, first, length, patches);
          for_each_panel(columns, [&](int64_t column, auto vectors) {
            constexpr int width = decltype(vectors)::value;
            multiply_rows<width>({length, s.out_channels, right.stride}, {outputs, 1, columns},
                                 gradients + first * s.out_channels, right.data + column,
                                 floats(sums) + item * count + column, at > begin);
          });
        }
      }
#pragma omp for collapse(2) nowait
      for (int64_t output = 0; output < outputs; ++output)
        for (int64_t p = 0; p < part_count; ++p) {
          const Part& part = parts[static_cast<size_t>(p)];
          const float* sum = floats(sums) + p * count + output * round_up(part.depth, lanes);
          float* to = weight_gradient + ((group * outputs + output) * taps + part.first) * grid.from.group;
          for (int64_t i = 0; i < part.depth; ++i) {
            float total = sum[i];
            for (int64_t stretch = 1; stretch < stretches; ++stretch)
              total += sum[stretch * part_count * count + i];
            to[i] = total;
          }
        }
    }
  }
}

}  // namespace dw::cpu_backend
