// Convolution in single precision between few channels, without patches: rows of outputs are multiplied from
// where the images lie. What would leave most of a vector empty is folded: `fold` neighbouring outputs of a
// row become the channels of one, of a window that much wider, so that 6 channels fill 12 lanes of 16 at 6/5
// of the products. Floor: 2 · outputs · filter size flops a pass at the machine's rate, or input and output
// once. What is summed in which order depends on the shape alone, so the thread count changes no bit.
#include "kernels/cpu/convolution_direct.h"

#include <omp.h>

#include <algorithm>

#include "kernels/cpu/float_buffer.h"
#include "kernels/cpu/matrix_tile.h"

namespace dw::cpu_backend {
namespace {

constexpr int64_t many_tasks = 64;  ///< enough of them to keep many threads busy

/// Whether rows of so many columns can be written one after the other, as whole vectors: what is too much is
/// written again by the next row, if no panel has been there before.
bool follow_each_other(int64_t columns) {
  return columns % lanes == 0 || columns <= 2 * lanes;
}

/// Neighbouring outputs that are worth folding.
int64_t best_fold(const ConvShape& s) {
  int64_t best = 1;
  double least = 0;
  for (int64_t fold = 1; fold <= std::min<int64_t>(lanes, s.out_width()); ++fold) {
    const int64_t products =
        round_up(fold * s.out_channels, lanes) * (s.kernel_width + (fold - 1) * s.stride);
    const double cost = static_cast<double>(products) / static_cast<double>(fold);
    if (fold > 1 && (cost >= least || !follow_each_other(fold * s.out_channels))) continue;
    least = cost;
    best = fold;
  }
  return best;
}

/// A problem whose outputs are folded.
struct Folded {
  ConvShape s;
  int64_t fold = best_fold(s);
  int64_t groups = (s.out_width() + fold - 1) / fold;  ///< folded outputs of a row
  int64_t used = fold * s.out_channels;                ///< columns of a folded output
  int64_t columns = round_up(used, lanes);
  int64_t window =
      (s.kernel_width + (fold - 1) * s.stride) * s.in_channels;  ///< floats of a row that one sees
  int64_t step = fold * s.stride * s.in_channels;                ///< floats between windows
  int64_t row = (groups - 1) * step + window;                    ///< floats of a row with its border
};

/// Rows of an image as products read them, `stride` floats apart.
struct ImageRows {
  const float* data;
  int64_t stride;
};

/// Input rows [first, end) of an image, in `scratch` where they need zeros on both sides.
ImageRows rows_of(const Folded& f, const float* images, int64_t image, int64_t first, int64_t end,
                  float* scratch) {
  const ConvShape& s = f.s;
  const int64_t own = s.in_width * s.in_channels;
  const float* from = images + (image * s.in_height + first) * own;
  if (s.padding == 0 && f.row <= own) return {from, own};
  const int64_t left = s.padding * s.in_channels, inside = std::min(own, f.row - left);
  float* to = scratch;
  for (int64_t y = first; y < end; ++y, from += own, to += f.row) {
    std::fill_n(to, left, 0.0F);
    std::copy_n(from, inside, to + left);
    std::fill_n(to + left + inside, f.row - left - inside, 0.0F);
  }
  return {scratch, f.row};
}

/// Rows of filters that meet an image, as seen from output row `y`.
struct MetRows {
  int64_t first, end;
};

MetRows rows_met(const ConvShape& s, int64_t y) {
  const int64_t top = y * s.stride - s.padding;
  return {std::clamp<int64_t>(-top, 0, s.kernel_height),
          std::clamp<int64_t>(s.in_height - top, 0, s.kernel_height)};
}

/// Filters of folded outputs in panels: [panel][down][window][panel's columns].
void pack_filters(const Folded& f, const float* weight, float* packed) {
  const ConvShape& s = f.s;
  const int64_t row = s.kernel_width * s.in_channels;
  for_each_panel(f.columns, [&](int64_t first, auto vectors) {
    constexpr int64_t width = decltype(vectors)::value * lanes;
    std::fill_n(packed, s.kernel_height * f.window * width, 0.0F);
    for (int64_t column = first; column < std::min(first + width, f.used); ++column) {
      const float* from = weight + column % s.out_channels * s.kernel_height * row;
      float* to = packed + column / s.out_channels * s.stride * s.in_channels * width + column - first;
      for (int64_t ky = 0; ky < s.kernel_height; ++ky, to += f.window * width)
        for (int64_t at = 0; at < row; ++at) to[at * width] = *from++;
    }
    packed += s.kernel_height * f.window * width;
  });
}

/// A row of folded outputs; up to one more is written.
void multiply_row(const Folded& f, const ImageRows& in, int64_t first_in, int64_t y, const float* packed,
                  float* to) {
  const MetRows met = rows_met(f.s, y);
  const float* left = in.data + (y * f.s.stride - f.s.padding + met.first - first_in) * in.stride;
  for_each_panel(f.columns, [&](int64_t column, auto vectors) {
    constexpr int width = decltype(vectors)::value * lanes;
    const Depth down{met.end - met.first, in.stride, f.window * width}, along{f.window, 1, width};
    const float* filters = packed + column * f.s.kernel_height * f.window + met.first * f.window * width;
    multiply_rows<decltype(vectors)::value>(down, along, {f.groups, f.step, f.used}, left, filters,
                                            to + column);
  });
}

/// Gradients of an image's outputs as products read them: whole vectors, zeros where a group ends beyond its
/// row; in `scratch` where they do not lie so, or where that would read beyond the last image.
ImageRows gradients_of(const Folded& f, const float* gradients, int64_t image, float* scratch) {
  const ConvShape& s = f.s;
  const int64_t own = s.out_width() * s.out_channels, row = f.groups * f.used;
  const float* from = gradients + image * s.out_height() * own;
  if (own == row && (f.used == f.columns || image + 1 < s.batch)) return {from, own};
  for (int64_t y = 0; y < s.out_height(); ++y) {
    std::copy_n(from + y * own, own, scratch + y * row);
    std::fill_n(scratch + y * row + own, row - own, 0.0F);
  }
  return {scratch, row};
}

/// Adds the gradients of the filters of an image: [down][window][columns].
void add_filter_gradients(const Folded& f, const ImageRows& in, const ImageRows& gradients, float* sum) {
  const ConvShape& s = f.s;
  const Depth along{f.groups, f.step, f.used};
  for (int64_t ky = 0; ky < s.kernel_height; ++ky) {
    // The output rows from which this row of a filter meets the image.
    const int64_t above = s.padding - ky, below = s.in_height + above;
    const int64_t first = std::clamp<int64_t>((above + s.stride - 1) / s.stride, 0, s.out_height());
    const int64_t end = std::clamp<int64_t>((below + s.stride - 1) / s.stride, first, s.out_height());
    const Depth rows{end - first, s.stride * in.stride, gradients.stride};
    const float* left = in.data + (first * s.stride - above) * in.stride;
    const float* right = gradients.data + first * gradients.stride;
    for_each_panel(f.columns, [&](int64_t column, auto vectors) {
      multiply_rows<decltype(vectors)::value>(rows, along, {f.window, 1, f.columns}, left, right + column,
                                              sum + ky * f.window * f.columns + column, true);
    });
  }
}

}  // namespace

bool direct_fits(const ConvShape& s) {
  constexpr int64_t most_filter_floats = 8 << 10, least_positions = 64;
  if (s.dtype != DType::f32 || s.groups != 1 || s.dilation != 1 || !follow_each_other(s.out_channels))
    return false;
  const Folded f{s};
  return f.s.kernel_height * f.window * f.columns <= most_filter_floats &&
         f.s.out_height() * f.s.out_width() >= least_positions;
}

void direct_forward(const ConvShape& s, const float* in, const float* weight, float* out) {
  const Folded f{s};
  const int64_t out_height = s.out_height();
  const int64_t bands = std::min(out_height, (many_tasks + s.batch - 1) / s.batch);
  const int64_t band_rows =
      std::min(s.in_height, ((out_height + bands - 1) / bands - 1) * s.stride + s.kernel_height);
  const int64_t out_row = s.out_width() * s.out_channels, written = (f.groups - 1) * f.used + f.columns;
  const int64_t per_thread = band_rows * f.row + written;
  const Buffer packed = float_buffer(s.kernel_height * f.window * f.columns);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
  pack_filters(f, weight, floats(packed));
  const int64_t work = s.batch * out_height * f.groups * s.kernel_height * f.window * f.columns;
#pragma omp parallel for schedule(static) if (work > serial_products)
  for (int64_t task = 0; task < s.batch * bands; ++task) {
    const int64_t image = task / bands, band = task % bands;
    const int64_t first = band * out_height / bands, end = (band + 1) * out_height / bands;
    float* bordered = floats(scratch) + per_thread * omp_get_thread_num();
    float* last = bordered + band_rows * f.row;
    const int64_t top = std::clamp<int64_t>(first * s.stride - s.padding, 0, s.in_height);
    const int64_t bottom =
        std::clamp<int64_t>((end - 1) * s.stride - s.padding + s.kernel_height, top, s.in_height);
    const ImageRows rows = rows_of(f, in, image, top, bottom, bordered);
    for (int64_t y = first; y < end; ++y) {
      // What a row has too much is in the way of the next one only, which comes after it in the same task.
      float* to = out + (image * out_height + y) * out_row;
      const bool follows = y + 1 < end && written <= 2 * out_row;
      multiply_row(f, rows, top, y, floats(packed), follows ? to : last);
      if (!follows) std::copy_n(last, out_row, to);
    }
  }
}

void direct_backward_weight(const ConvShape& s, const float* in, const float* out_gradient,
                            float* weight_gradient) {
  const Folded f{s};
  // Stretches of images are summed apart, then in order.
  const int64_t stretches = std::min<int64_t>(s.batch, 32), count = s.kernel_height * f.window * f.columns;
  const int64_t bordered = s.in_height * f.row;
  const int64_t per_thread = bordered + s.out_height() * f.groups * f.used + lanes;
  const Buffer sums = float_buffer(stretches * count);
  const Buffer scratch = float_buffer(per_thread * omp_get_max_threads());
#pragma omp parallel if (s.batch * s.out_height() * f.groups * count > serial_products)
  {
    float* own = floats(scratch) + per_thread * omp_get_thread_num();
#pragma omp for schedule(static)
    for (int64_t stretch = 0; stretch < stretches; ++stretch) {
      float* sum = floats(sums) + stretch * count;
      std::fill_n(sum, count, 0.0F);
      for (int64_t image = stretch * s.batch / stretches; image < (stretch + 1) * s.batch / stretches;
           ++image)
        add_filter_gradients(f, rows_of(f, in, image, 0, s.in_height, own),
                             gradients_of(f, out_gradient, image, own + bordered), sum);
    }
#pragma omp for collapse(2) nowait
    for (int64_t output = 0; output < s.out_channels; ++output)
      for (int64_t ky = 0; ky < s.kernel_height; ++ky) {
        float* to = weight_gradient + (output * s.kernel_height + ky) * s.kernel_width * s.in_channels;
        for (int64_t at = 0; at < s.kernel_width * s.in_channels; ++at) {
          float total = 0;
          for (int64_t stretch = 0; stretch < stretches; ++stretch)
            for (int64_t i = 0; i < f.fold; ++i)
              total += floats(
                  sums)[stretch * count + (ky * f.window + at + i * s.stride * s.in_channels) * f.columns +
                        i * s.out_channels + output];
          to[at] = total;
        }
      }
  }
}

}  // namespace dw::cpu_backend
