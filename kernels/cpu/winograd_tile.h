// The transforms of Winograd's minimal filtering for 3-tap filters (Lavin & Gray, "Fast Algorithms for
// Convolutional Neural Networks", CVPR 2016): Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for a tile of outputs.
// Each works on vectors of channels, in one dimension, with strides; transform() makes it two.
#pragma once

#include "kernels/cpu/vector.h"

namespace dw::cpu_backend {

/// F(4, 3): 4 outputs from 6 inputs, 36 products for 16 outputs where the definition takes 144.
struct WinogradTile {
  static constexpr int outputs = 4, inputs = 6, taps = 3;

  /// Bᵀ: inputs → inputs.
  static void input(const Vector* d, int from, Vector* v, int to) {
    const Vector even = d[4 * from] - 4.0F * d[2 * from], odd = d[3 * from] - 4.0F * d[from];
    const Vector even2 = d[4 * from] - d[2 * from], odd2 = 2.0F * (d[3 * from] - d[from]);
    v[0] = 4.0F * d[0] - 5.0F * d[2 * from] + d[4 * from];
    v[to] = even + odd;
    v[2 * to] = even - odd;
    v[3 * to] = even2 + odd2;
    v[4 * to] = even2 - odd2;
    v[5 * to] = 4.0F * d[from] - 5.0F * d[3 * from] + d[5 * from];
  }

  /// G: taps → inputs.
  static void filter(const Vector* g, int from, Vector* u, int to) {
    const Vector even = (g[0] + g[2 * from]) * (-1.0F / 6), odd = g[from] * (-1.0F / 6);
    const Vector even2 = g[0] * (1.0F / 24) + g[2 * from] * (1.0F / 6), odd2 = g[from] * (1.0F / 12);
    u[0] = g[0] * 0.25F;
    u[to] = even + odd;
    u[2 * to] = even - odd;
    u[3 * to] = even2 + odd2;
    u[4 * to] = even2 - odd2;
    u[5 * to] = g[2 * from];
  }

  /// Aᵀ: inputs → outputs.
  static void output(const Vector* m, int from, Vector* y, int to) {
    const Vector even = m[from] + m[2 * from], odd = m[from] - m[2 * from];
    const Vector even2 = m[3 * from] + m[4 * from], odd2 = m[3 * from] - m[4 * from];
    y[0] = m[0] + even + even2;
    y[to] = odd + 2.0F * odd2;
    y[2 * to] = even + 4.0F * even2;
    y[3 * to] = odd + 8.0F * odd2 + m[5 * from];
  }

  /// A, the transpose of `output`: outputs → inputs.
  static void output_gradient(const Vector* y, int from, Vector* m, int to) {
    const Vector even = y[0] + y[2 * from], odd = y[from] + y[3 * from];
    const Vector even2 = y[0] + 4.0F * y[2 * from], odd2 = 2.0F * y[from] + 8.0F * y[3 * from];
    m[0] = y[0];
    m[to] = even + odd;
    m[2 * to] = even - odd;
    m[3 * to] = even2 + odd2;
    m[4 * to] = even2 - odd2;
    m[5 * to] = y[3 * from];
  }

  /// Gᵀ, the transpose of `filter`: inputs → taps.
  static void filter_gradient(const Vector* u, int from, Vector* g, int to) {
    const Vector even = (u[from] + u[2 * from]) * (-1.0F / 6), odd = (u[from] - u[2 * from]) * (-1.0F / 6);
    const Vector even2 = u[3 * from] + u[4 * from], odd2 = u[3 * from] - u[4 * from];
    g[0] = u[0] * 0.25F + even + even2 * (1.0F / 24);
    g[to] = odd + odd2 * (1.0F / 12);
    g[2 * to] = even + even2 * (1.0F / 6) + u[5 * from];
  }
};

/// Applies `one_dimension` to the columns, then to the rows, of a square [from, from] → [to, to].
template <int from, int to, typename OneDimension>
void transform(OneDimension one_dimension, const Vector* in, Vector* out) {
  Vector columns[to * from];
  for (int column = 0; column < from; ++column) one_dimension(in + column, from, columns + column, from);
  for (int row = 0; row < to; ++row) one_dimension(columns + row * from, 1, out + row * to, 1);
}

}  // namespace dw::cpu_backend
