// Work memory of the convolutions, in floats.
#pragma once

#include "kernels/device.h"

namespace dw::cpu_backend {

/// Not initialised.
inline Buffer float_buffer(int64_t count) {
  return {cpu, static_cast<size_t>(count) * sizeof(float)};
}

inline float* floats(const Buffer& buffer) {
  return static_cast<float*>(buffer.data());
}

}  // namespace dw::cpu_backend
