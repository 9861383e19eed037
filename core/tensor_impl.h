// What a Tensor points to. Private to core.
#pragma once

#include "core/tensor.h"

namespace dw {

struct Tensor::Impl {
  std::shared_ptr<Buffer> storage;
  Shape shape;
  Shape strides;
  int64_t offset = 0;
  DType dtype = DType::f32;
  bool requires_grad = false;
  Tensor grad;
  // Where the tape `tape` keeps this tensor's gradient.
  uint64_t tape = 0;
  int slot = -1;
};

/// Index of a dimension that may count from the end. Error where it is outside.
size_t checked_dimension(const Shape& shape, int dimension);

}  // namespace dw
