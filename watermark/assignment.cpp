#include <limits>

#include "kernels/error.h"
#include "watermark/realignment.h"

namespace dw {

std::vector<int64_t> best_assignment(std::span<const double> benefit, int64_t rows, int64_t columns) {
  require(rows >= 0 && columns >= rows && static_cast<int64_t>(benefit.size()) == rows * columns,
          "an assignment expects a benefit for each of {} x {} pairs and no more rows than columns, found {}",
          rows, columns, benefit.size());
  const auto n = static_cast<size_t>(rows), m = static_cast<size_t>(columns);
  const double infinity = std::numeric_limits<double>::infinity();
  // Column m stands for the row that is being placed; prices keep every reduced cost non-negative.
  std::vector<double> row_price(n, 0), column_price(m + 1, 0);
  std::vector<size_t> row_of(m + 1, n);
  for (size_t row = 0; row < n; ++row) {
    std::vector<double> distance(m, infinity);
    std::vector<size_t> previous(m, m);
    std::vector<bool> done(m + 1, false);
    size_t column = m;
    row_of[m] = row;
    do {
      done[column] = true;
      const size_t from = row_of[column];
      double least = infinity;
      size_t next = m;
      for (size_t j = 0; j < m; ++j) {
        if (done[j]) continue;
        const double reduced = -benefit[from * m + j] - row_price[from] - column_price[j];
        if (reduced < distance[j]) {
          distance[j] = reduced;
          previous[j] = column;
        }
        if (distance[j] < least) {
          least = distance[j];
          next = j;
        }
      }
      require(next != m, "an assignment expects finite benefits");
      for (size_t j = 0; j <= m; ++j) {
        if (done[j]) {
          row_price[row_of[j]] += least;
          column_price[j] -= least;
        } else {
          distance[j] -= least;
        }
      }
      column = next;
    } while (row_of[column] != n);
    while (column != m) {
      row_of[column] = row_of[previous[column]];
      column = previous[column];
    }
  }
  std::vector<int64_t> result(n);
  for (size_t j = 0; j < m; ++j)
    if (row_of[j] != n) result[row_of[j]] = static_cast<int64_t>(j);
  return result;
}

}  // namespace dw
