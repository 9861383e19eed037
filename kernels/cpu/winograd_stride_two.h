// Winograd's transforms for 3-tap filters of stride 2, of which every other input meets the taps 0 and 2, the
// others tap 1 alone. The former are a filter of 2 taps at stride 1: F(4, 2), 5 products for 4 outputs; the
// latter take one product an output. A tile of 16 outputs takes (5 + 4)² = 81 products, where the definition
// takes 144. See winograd_transform.h.
#pragma once

#include <cstdint>

#include "kernels/cpu/winograd_transform.h"

namespace dw::cpu_backend {

struct StrideTwo {
  /// F(4, 2), from the points ±near, ±far and ∞. With ½ and 5/4 the rounding error is about 1.7 times that of
  /// the definition; with 1 and 2 in place of two of them, or 0, it would be twice as large.
  struct TwoTaps {
    static constexpr float near = 0.5F, near_squared = near * near;
    static constexpr float far = 1.25F, far_squared = far * far;
    static constexpr float near_weight = 0.5F / (near_squared - far_squared), far_weight = -near_weight;

    /// Bᵀ: 5 inputs, `step` apart → 5 points.
    static void input(const Vector* d, int64_t step, Vector* v, int64_t stride) {
      const Vector odd = d[3 * step] - far_squared * d[step], odd2 = d[3 * step] - near_squared * d[step];
      const Vector even = near * (d[2 * step] - far_squared * d[0]);
      const Vector even2 = far * (d[2 * step] - near_squared * d[0]);
      v[0] = odd + even;
      v[stride] = odd - even;
      v[2 * stride] = odd2 + even2;
      v[3 * stride] = odd2 - even2;
      v[4 * stride] =
          d[4 * step] - (near_squared + far_squared) * d[2 * step] + near_squared * far_squared * d[0];
    }

    /// Aᵀ: 5 points → 4 outputs.
    static void output(const Vector* m, Vector (&y)[4]) {
      const Vector even = m[0] + m[1], odd = near * (m[0] - m[1]);
      const Vector even2 = m[2] + m[3], odd2 = far * (m[2] - m[3]);
      y[0] = even + even2;
      y[1] = odd + odd2;
      y[2] = near_squared * even + far_squared * even2;
      y[3] = near_squared * odd + far_squared * odd2 + m[4];
    }
  };

  /// A window of inputs → points, those of tap 1 last.
  struct Input {
    static constexpr int from = 9, to = 9;
    static void apply(const Vector* d, Vector* v, int64_t stride) {
      TwoTaps::input(d, 2, v, stride);
      for (int64_t i = 0; i < 4; ++i) v[(5 + i) * stride] = d[2 * i + 1];
    }
  };

  /// Taps → points; those of tap 1 are one, as all four are multiplied by the same.
  struct Filter {
    static constexpr int from = 3, to = 6;
    static void apply(const Vector* g, Vector* u, int64_t stride) {
      const Vector even = TwoTaps::near_weight / TwoTaps::near * g[0], odd = TwoTaps::near_weight * g[2];
      const Vector even2 = TwoTaps::far_weight / TwoTaps::far * g[0], odd2 = TwoTaps::far_weight * g[2];
      u[0] = odd + even;
      u[stride] = odd - even;
      u[2 * stride] = odd2 + even2;
      u[3 * stride] = odd2 - even2;
      u[4 * stride] = g[2];
      u[5 * stride] = g[1];
    }
  };

  /// Points → outputs.
  struct Output {
    static constexpr int from = 9, to = 4;
    static void apply(const Vector* m, Vector* y, int64_t stride) {
      Vector sums[4];
      TwoTaps::output(m, sums);
      for (int64_t i = 0; i < 4; ++i) y[i * stride] = sums[i] + m[5 + i];
    }
  };

  /// A window of gradients of outputs → points.
  struct OutputWindow {
    static constexpr int from = 5, to = 9;
    static void apply(const Vector* d, Vector* v, int64_t stride) {
      TwoTaps::input(d, 1, v, stride);
      for (int64_t i = 0; i < 4; ++i) v[(5 + i) * stride] = d[i];
    }
  };

  /// Points → gradients of the inputs, the first of which met tap 1.
  struct InputGradient {
    static constexpr int from = 9, to = 8;
    static void apply(const Vector* m, Vector* y, int64_t stride) {
      Vector sums[4];
      TwoTaps::output(m, sums);
      for (int64_t i = 0; i < 4; ++i) {
        y[2 * i * stride] = m[5 + i];
        y[(2 * i + 1) * stride] = sums[i];
      }
    }
  };

  /// The transpose of Output: gradients of a tile of outputs → points.
  struct OutputGradient {
    static constexpr int from = 4, to = 9;
    static void apply(const Vector* y, Vector* m, int64_t stride) {
      evaluate<TwoTaps>(y, m, stride);
      m[4 * stride] = y[3];
      for (int64_t i = 0; i < 4; ++i) m[(5 + i) * stride] = y[i];
    }
  };

  /// The transpose of Filter: points → gradients of taps.
  struct FilterGradient {
    static constexpr int from = 6, to = 3;
    static void apply(const Vector* u, Vector* g, int64_t stride) {
      g[0] = TwoTaps::near_weight / TwoTaps::near * (u[0] - u[1]) +
             TwoTaps::far_weight / TwoTaps::far * (u[2] - u[3]);
      g[stride] = u[5];
      g[2 * stride] = TwoTaps::near_weight * (u[0] + u[1]) + TwoTaps::far_weight * (u[2] + u[3]) + u[4];
    }
  };
};

}  // namespace dw::cpu_backend
