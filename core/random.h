// Where random draws get their names from. Within a RandomScope the n-th random operation of a step draws
// from Philox (seed, n, step): a training run's randomness is a function of its seed and step number alone,
// so that it can be resumed.
#pragma once

#include "core/tensor.h"
#include "kernels/philox.h"

namespace dw {

/// Streams below this number are for fixed purposes; operations inside a scope count up from it.
inline constexpr uint32_t first_operation_stream = 1024;
inline constexpr uint32_t shuffle_stream = 1;
inline constexpr uint32_t augmentation_stream = 2;
inline constexpr uint32_t initialisation_stream = 3;

class RandomScope {
 public:
  RandomScope(uint64_t seed, uint32_t step);
  /// The same draws with the step read on the device, i64 [1], when a kernel runs: a captured step that is
  /// replayed with another number there draws anew.
  RandomScope(uint64_t seed, const Tensor& step);
  ~RandomScope();
  RandomScope(const RandomScope&) = delete;
  RandomScope& operator=(const RandomScope&) = delete;

  /// The key of the next random operation of this thread. Error outside any scope.
  static RandomKey next_key();

 private:
  PhiloxKey next_;
  Tensor step_;  // undefined: in next_
  RandomScope* previous_;
};

/// Draws made on the CPU, so that every device starts from the same bits.
Tensor random_normal(const Shape& shape, const PhiloxKey& key, double mean = 0, double deviation = 1,
                     DType dtype = DType::f32, Device device = cpu, Layout layout = Layout::contiguous);
Tensor random_uniform(const Shape& shape, const PhiloxKey& key, double low = 0, double high = 1,
                      DType dtype = DType::f32, Device device = cpu, Layout layout = Layout::contiguous);

}  // namespace dw
