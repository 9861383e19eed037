// Winograd's transforms for 3-tap filters of stride 1: F(4, 3), 4 outputs from 6 inputs, 36 products for a
// tile of 16 outputs where the definition takes 144. See winograd_transform.h.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/cpu/winograd_transform.h"

namespace dw::cpu_backend {

struct UnitStride {
  // Everything follows from the points 0, ±near, ±far and ∞ at which polynomials are evaluated. With √½ and
  // √2 the rounding error is a quarter of that with the customary 1 and 2, about twice that of the
  // definition.
  static constexpr float near = 0.70710678F, near_squared = 0.5F;
  static constexpr float far = 1.41421356F, far_squared = 2.0F;
  static constexpr float near_weight = -2.0F / 3, far_weight = 1.0F / 6;  ///< 1 / ∏ distances to other points

  /// Bᵀ: a window of inputs → points.
  struct Input {
    static constexpr int from = 6, to = 6;
    static void apply(const Vector* d, Vector* v, int64_t stride) {
      const Vector even = d[4] - far_squared * d[2], odd = near * (d[3] - far_squared * d[1]);
      const Vector even2 = d[4] - near_squared * d[2], odd2 = far * (d[3] - near_squared * d[1]);
      v[0] = d[0] - (near_squared + far_squared) * d[2] + d[4];
      v[stride] = even + odd;
      v[2 * stride] = even - odd;
      v[3 * stride] = even2 + odd2;
      v[4 * stride] = even2 - odd2;
      v[5 * stride] = d[1] - (near_squared + far_squared) * d[3] + d[5];
    }
  };

  /// G: taps → points.
  struct Filter {
    static constexpr int from = 3, to = 6;
    static void apply(const Vector* g, Vector* u, int64_t stride) {
      const Vector even = near_weight * (g[0] + near_squared * g[2]), odd = near_weight * near * g[1];
      const Vector even2 = far_weight * (g[0] + far_squared * g[2]), odd2 = far_weight * far * g[1];
      u[0] = g[0];
      u[stride] = even + odd;
      u[2 * stride] = even - odd;
      u[3 * stride] = even2 + odd2;
      u[4 * stride] = even2 - odd2;
      u[5 * stride] = g[2];
    }
  };

  /// The same, but for a factor a point, which the points of inputs may have instead.
  struct UnweightedFilter {
    static constexpr std::array<float, 6> weights = {1, near_weight, near_weight, far_weight, far_weight, 1};
    static void apply(const Vector* g, Vector* u, int64_t stride) {
      const Vector even = g[0] + near_squared * g[2], even2 = g[0] + far_squared * g[2];
      u[0] = g[0];
      u[stride] = even + near * g[1];
      u[2 * stride] = even - near * g[1];
      u[3 * stride] = even2 + far * g[1];
      u[4 * stride] = even2 - far * g[1];
      u[5 * stride] = g[2];
    }
  };

  /// Aᵀ: points → outputs.
  struct Output {
    static constexpr int from = 6, to = 4;
    static void apply(const Vector* m, Vector* y, int64_t stride) {
      const Vector even = m[1] + m[2], odd = near * (m[1] - m[2]);
      const Vector even2 = m[3] + m[4], odd2 = far * (m[3] - m[4]);
      y[0] = m[0] + even + even2;
      y[stride] = odd + odd2;
      y[2 * stride] = near_squared * even + far_squared * even2;
      y[3 * stride] = near_squared * odd + far_squared * odd2 + m[5];
    }
  };

  /// A, the transpose of Output: gradients of a tile of outputs → points.
  struct OutputGradient {
    static constexpr int from = 4, to = 6;
    static void apply(const Vector* y, Vector* m, int64_t stride) {
      m[0] = y[0];
      evaluate<UnitStride>(y, m + stride, stride);
      m[5 * stride] = y[3];
    }
  };

  /// Gᵀ, the transpose of Filter: points → gradients of taps.
  struct FilterGradient {
    static constexpr int from = 6, to = 3;
    static void apply(const Vector* u, Vector* g, int64_t stride) {
      const Vector even = near_weight * (u[1] + u[2]), odd = near_weight * near * (u[1] - u[2]);
      const Vector even2 = far_weight * (u[3] + u[4]), odd2 = far_weight * far * (u[3] - u[4]);
      g[0] = u[0] + even + even2;
      g[stride] = odd + odd2;
      g[2 * stride] = near_squared * even + far_squared * even2 + u[5];
    }
  };

  // The gradients of the inputs are a convolution of those of the outputs with the filters turned around.
  using OutputWindow = Input;
  using InputGradient = Output;
};

}  // namespace dw::cpu_backend
