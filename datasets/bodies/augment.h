// What the augmentation kernel takes; between datasets/augment.cpp and its single-source body.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace dw {

struct AugmentArguments {
  const uint8_t* pixels = nullptr;   ///< [count, height, width, channels]
  const int64_t* indices = nullptr;  ///< [count]
  const int64_t* epoch = nullptr;    ///< one value
  void* out = nullptr;               ///< [count, height, width, channels] of `dtype`
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
