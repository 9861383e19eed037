// Convolution in double precision, which oneDNN does not offer: for gradient checks and golden values, not
// for speed (its floor is that of convolution.cpp in eight-byte elements). Each image is unfolded into a
// matrix of patches (im2col) and multiplied with the filters. Images are independent, and gradients of the
// filters are summed over images in a fixed order, so the thread count changes no bit.
#include "kernels/cpu/convolution_reference.h"

#include <cblas.h>

#include <algorithm>
#include <vector>

namespace dw::cpu_backend {
namespace {

/// Filters' gradients are summed in this many parts at most, then the parts in order.
constexpr int64_t most_parts = 16;

struct Geometry {
  explicit Geometry(const ConvShape& shape)
      : positions(shape.out_height() * shape.out_width()),
        group_inputs(shape.in_channels / shape.groups),
        group_outputs(shape.out_channels / shape.groups),
        patch(shape.kernel_height * shape.kernel_width * group_inputs),
        image_in(shape.in_height * shape.in_width * shape.in_channels),
        image_out(positions * shape.out_channels) {}

  int64_t positions, group_inputs, group_outputs, patch, image_in, image_out;
};

/// Calls visit(patch row, image offset or -1 outside the image) for every position and filter tap of a group.
template <typename Visit>
void for_each_tap(const ConvShape& shape, const Geometry& geometry, int64_t group, Visit&& visit) {
  int64_t row = 0;
  for (int64_t y = 0; y < shape.out_height(); ++y)
    for (int64_t x = 0; x < shape.out_width(); ++x)
      for (int64_t ky = 0; ky < shape.kernel_height; ++ky)
        for (int64_t kx = 0; kx < shape.kernel_width; ++kx, row += geometry.group_inputs) {
          const int64_t in_y = y * shape.stride - shape.padding + ky * shape.dilation;
          const int64_t in_x = x * shape.stride - shape.padding + kx * shape.dilation;
          const bool inside = in_y >= 0 && in_y < shape.in_height && in_x >= 0 && in_x < shape.in_width;
          visit(row, inside
                         ? (in_y * shape.in_width + in_x) * shape.in_channels + group * geometry.group_inputs
                         : -1);
        }
}

void image_to_patches(const ConvShape& shape, const Geometry& geometry, int64_t group, const double* image,
                      double* patches) {
  for_each_tap(shape, geometry, group, [&](int64_t row, int64_t offset) {
    if (offset < 0)
      std::fill_n(patches + row, geometry.group_inputs, 0.0);
    else
      std::copy_n(image + offset, geometry.group_inputs, patches + row);
  });
}

/// The transpose of image_to_patches: adds every patch to where it came from.
void add_patches_to_image(const ConvShape& shape, const Geometry& geometry, int64_t group,
                          const double* patches, double* image) {
  for_each_tap(shape, geometry, group, [&](int64_t row, int64_t offset) {
    if (offset < 0) return;
    for (int64_t channel = 0; channel < geometry.group_inputs; ++channel)
      image[offset + channel] += patches[row + channel];
  });
}

/// C = op(A) · B + beta · C. Inside a parallel region OpenBLAS uses the calling thread alone.
void multiply(CBLAS_TRANSPOSE transpose_a, CBLAS_TRANSPOSE transpose_b, int64_t m, int64_t n, int64_t k,
              const double* a, int64_t stride_a, const double* b, int64_t stride_b, double beta, double* c,
              int64_t stride_c) {
  const auto size = [](int64_t value) { return static_cast<blasint>(value); };
  cblas_dgemm(CblasRowMajor, transpose_a, transpose_b, size(m), size(n), size(k), 1.0, a, size(stride_a), b,
              size(stride_b), beta, c, size(stride_c));
}

}  // namespace

void reference_forward(const ConvShape& shape, const double* in, const double* weight, double* out) {
  const Geometry geometry(shape);
#pragma omp parallel
  {
    std::vector<double> patches(static_cast<size_t>(geometry.positions * geometry.patch));
#pragma omp for
    for (int64_t image = 0; image < shape.batch; ++image)
      for (int64_t group = 0; group < shape.groups; ++group) {
        image_to_patches(shape, geometry, group, in + image * geometry.image_in, patches.data());
        multiply(CblasNoTrans, CblasTrans, geometry.positions, geometry.group_outputs, geometry.patch,
                 patches.data(), geometry.patch, weight + group * geometry.group_outputs * geometry.patch,
                 geometry.patch, 0.0, out + image * geometry.image_out + group * geometry.group_outputs,
                 shape.out_channels);
      }
  }
}

void reference_backward_data(const ConvShape& shape, const double* out_gradient, const double* weight,
                             double* in_gradient) {
  const Geometry geometry(shape);
#pragma omp parallel
  {
    std::vector<double> patches(static_cast<size_t>(geometry.positions * geometry.patch));
#pragma omp for
    for (int64_t image = 0; image < shape.batch; ++image) {
      double* image_gradient = in_gradient + image * geometry.image_in;
      std::fill_n(image_gradient, geometry.image_in, 0.0);
      for (int64_t group = 0; group < shape.groups; ++group) {
        multiply(CblasNoTrans, CblasNoTrans, geometry.positions, geometry.patch, geometry.group_outputs,
                 out_gradient + image * geometry.image_out + group * geometry.group_outputs,
                 shape.out_channels, weight + group * geometry.group_outputs * geometry.patch, geometry.patch,
                 0.0, patches.data(), geometry.patch);
        add_patches_to_image(shape, geometry, group, patches.data(), image_gradient);
      }
    }
  }
}

void reference_backward_weight(const ConvShape& shape, const double* in, const double* out_gradient,
                               double* weight_gradient) {
  const Geometry geometry(shape);
  const int64_t count = shape.out_channels * geometry.patch;
  const int64_t parts = std::min(shape.batch, most_parts);
  std::vector<double> sums(static_cast<size_t>(parts * count));
#pragma omp parallel
  {
    std::vector<double> patches(static_cast<size_t>(geometry.positions * geometry.patch));
#pragma omp for
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t image = part * shape.batch / parts; image < (part + 1) * shape.batch / parts; ++image)
        for (int64_t group = 0; group < shape.groups; ++group) {
          image_to_patches(shape, geometry, group, in + image * geometry.image_in, patches.data());
          multiply(CblasTrans, CblasNoTrans, geometry.group_outputs, geometry.patch, geometry.positions,
                   out_gradient + image * geometry.image_out + group * geometry.group_outputs,
                   shape.out_channels, patches.data(), geometry.patch, 1.0,
                   sums.data() + part * count + group * geometry.group_outputs * geometry.patch,
                   geometry.patch);
        }
  }
#pragma omp parallel for if (parts * count > 65536)
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (int64_t part = 0; part < parts; ++part) sum += sums[static_cast<size_t>(part * count + i)];
    weight_gradient[i] = sum;
  }
}

}  // namespace dw::cpu_backend
