// What operations share. Private to core.
#pragma once

#include "core/tensor.h"

namespace dw {

inline Stream stream_of(const Tensor& tensor) {
  return current_stream(tensor.device());
}

inline Tensor channels_last(const Tensor& tensor) {
  return tensor.contiguous(Layout::channels_last);
}

}  // namespace dw
