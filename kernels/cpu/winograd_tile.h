// The transforms of Winograd's minimal filtering for 3-tap filters (Lavin & Gray, "Fast Algorithms for
// Convolutional Neural Networks", CVPR 2016): Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for a tile of outputs.
// Each works on vectors of channels, in one dimension, writing at a stride; transform() makes it two.
#pragma once

#include <utility>

#include "kernels/cpu/vector.h"

namespace dw::cpu_backend {

/// F(4, 3): 4 outputs from 6 inputs, 36 products for 16 outputs where the definition takes 144.
struct WinogradTile {
  static constexpr int outputs = 4, inputs = 6, taps = 3;
};

// Everything follows from the points 0, ±near, ±far and ∞ at which polynomials are evaluated. With √½ and √2
// the rounding error is a quarter of that with the customary 1 and 2, about twice that of the definition.
inline constexpr float near = 0.70710678F, near_squared = 0.5F;
inline constexpr float far = 1.41421356F, far_squared = 2.0F;
inline constexpr float near_weight = -2.0F / 3, far_weight = 1.0F / 6;  ///< 1 / ∏ distances to other points

/// Bᵀ: inputs → inputs.
struct InputTransform {
  static void apply(const Vector* d, Vector* v, int to) {
    const Vector even = d[4] - far_squared * d[2], odd = near * (d[3] - far_squared * d[1]);
    const Vector even2 = d[4] - near_squared * d[2], odd2 = far * (d[3] - near_squared * d[1]);
    v[0] = d[0] - (near_squared + far_squared) * d[2] + d[4];
    v[to] = even + odd;
    v[2 * to] = even - odd;
    v[3 * to] = even2 + odd2;
    v[4 * to] = even2 - odd2;
    v[5 * to] = d[1] - (near_squared + far_squared) * d[3] + d[5];
  }
};

/// G: taps → inputs.
struct FilterTransform {
  static void apply(const Vector* g, Vector* u, int to) {
    const Vector even = near_weight * (g[0] + near_squared * g[2]), odd = near_weight * near * g[1];
    const Vector even2 = far_weight * (g[0] + far_squared * g[2]), odd2 = far_weight * far * g[1];
    u[0] = g[0];
    u[to] = even + odd;
    u[2 * to] = even - odd;
    u[3 * to] = even2 + odd2;
    u[4 * to] = even2 - odd2;
    u[5 * to] = g[2];
  }
};

/// Aᵀ: inputs → outputs.
struct OutputTransform {
  static void apply(const Vector* m, Vector* y, int to) {
    const Vector even = m[1] + m[2], odd = near * (m[1] - m[2]);
    const Vector even2 = m[3] + m[4], odd2 = far * (m[3] - m[4]);
    y[0] = m[0] + even + even2;
    y[to] = odd + odd2;
    y[2 * to] = near_squared * even + far_squared * even2;
    y[3 * to] = near_squared * odd + far_squared * odd2 + m[5];
  }
};

/// A, the transpose of OutputTransform: outputs → inputs.
struct OutputGradientTransform {
  static void apply(const Vector* y, Vector* m, int to) {
    const Vector even = y[0] + near_squared * y[2], odd = near * (y[1] + near_squared * y[3]);
    const Vector even2 = y[0] + far_squared * y[2], odd2 = far * (y[1] + far_squared * y[3]);
    m[0] = y[0];
    m[to] = even + odd;
    m[2 * to] = even - odd;
    m[3 * to] = even2 + odd2;
    m[4 * to] = even2 - odd2;
    m[5 * to] = y[3];
  }
};

/// Gᵀ, the transpose of FilterTransform: inputs → taps.
struct FilterGradientTransform {
  static void apply(const Vector* u, Vector* g, int to) {
    const Vector even = near_weight * (u[1] + u[2]), odd = near_weight * near * (u[1] - u[2]);
    const Vector even2 = far_weight * (u[3] + u[4]), odd2 = far_weight * far * (u[3] - u[4]);
    g[0] = u[0] + even + even2;
    g[to] = odd + odd2;
    g[2 * to] = near_squared * even + far_squared * even2 + u[5];
  }
};

/// Calls body(0), ..., body(count - 1), the index as a compile-time constant, so that arrays become
/// registers.
template <int count, typename Body>
void unrolled(Body&& body) {
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (body(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, count>{});
}

/// The transpose of OneDimension applied to the rows and columns of a square [from, from] → [to, to].
/// Calls read(i) and write(i, value) with i ascending, so that both may step through memory. Two transforms
/// one after the other restore the order, and products in between do not mind it.
template <typename OneDimension, int from, int to, typename Read, typename Write>
[[gnu::always_inline]] inline void transform(Read&& read, Write&& write) {
  Vector columns[to * from];
#pragma GCC unroll 1
  for (int row = 0; row < from; ++row) {
    Vector values[from];
    unrolled<from>([&](auto column) { values[column] = read(row * from + column); });
    OneDimension::apply(values, columns + row, from);
  }
#pragma GCC unroll 1
  for (int column = 0; column < to; ++column) {
    Vector results[to];
    OneDimension::apply(columns + column * from, results, 1);
    unrolled<to>([&](auto row) { write(column * to + row, results[row]); });
  }
}

}  // namespace dw::cpu_backend
