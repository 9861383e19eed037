// The transforms of Winograd's minimal filtering (Lavin & Gray, "Fast Algorithms for Convolutional Neural
// Networks", CVPR 2016): Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for a tile of outputs. Aᵀ, G and Bᵀ are in
// winograd_unit_stride.h and winograd_stride_two.h: structs whose apply(x, y, stride) works on vectors of
// channels in one dimension, from `from` values to `to`, those written `stride` apart.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/vector.h"

namespace dw::cpu_backend {

/// Values at ±near and ±far of the polynomial with 4 coefficients; `Points` says where those are.
template <typename Points>
void evaluate(const Vector* coefficients, Vector* values, int64_t stride) {
  const Vector* y = coefficients;
  const Vector even = y[0] + Points::near_squared * y[2];
  const Vector odd = Points::near * (y[1] + Points::near_squared * y[3]);
  const Vector even2 = y[0] + Points::far_squared * y[2];
  const Vector odd2 = Points::far * (y[1] + Points::far_squared * y[3]);
  values[0] = even + odd;
  values[stride] = even - odd;
  values[2 * stride] = even2 + odd2;
  values[3 * stride] = even2 - odd2;
}

/// Calls body(0), ..., body(count - 1), the index as a compile-time constant, so that arrays become
/// registers.
template <int count, typename Body>
void unrolled(Body&& body) {
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (body(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, count>{});
}

/// OneDimension applied to the rows and columns of a square [from, from] → [to, to], the result transposed.
/// Calls read(i) and write(i, value) with i ascending, so that both may step through memory. Two transforms
/// one after the other restore the order, and products in between do not mind it.
template <typename OneDimension, typename Read, typename Write>
[[gnu::always_inline]] inline void transform(Read&& read, Write&& write) {
  constexpr int from = OneDimension::from, to = OneDimension::to;
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
