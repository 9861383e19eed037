// A strided view of device memory: what kernels take instead of a tensor.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/hd.h"

namespace dw {

inline constexpr int max_rank = 6;

/// `shape` and `stride` (in elements; 0 broadcasts) of the first `rank` dimensions. Does not own `data`.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  std::array<int64_t, max_rank> shape{};
  std::array<int64_t, max_rank> stride{};

  int64_t numel() const {
    int64_t count = 1;
    for (int d = 0; d < rank; ++d) count *= shape[static_cast<size_t>(d)];
    return count;
  }
};

}  // namespace dw
