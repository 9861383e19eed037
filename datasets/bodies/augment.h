// What the augmentation kernel takes; between datasets/augment.cpp and its single-source body.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace dw {

struct AugmentArguments {
  /// Two ways to say which picture output i is. Without `first`: pixels are [count, height, width, channels],
  /// output i is picture i, and indices[i] is its number in the set. With it: pixels are the whole set and
  /// indices the order of its pictures, of which output i is the one at *first + i.
  const uint8_t* pixels = nullptr;
  const int64_t* indices = nullptr;
  const int64_t* first = nullptr;
  const int64_t* labels = nullptr;  ///< of the whole set, read with `first`
  int64_t* out_labels = nullptr;    ///< [count], written with `first`
  const int64_t* epoch = nullptr;   ///< one value
  void* out = nullptr;              ///< [count, height, width, channels] of `dtype`
  DType dtype = DType::f32;
  int64_t count = 0, height = 0, width = 0, channels = 0;
  bool crop = false, flip = false;
  uint64_t seed = 0;
  float scale[3] = {};  ///< out = pixel · scale + offset, by channel
  float offset[3] = {};
};

namespace cpu_backend {
void augment(Stream stream, const AugmentArguments& arguments);
}
namespace cuda_backend {
void augment(Stream stream, const AugmentArguments& arguments);
}

}  // namespace dw
