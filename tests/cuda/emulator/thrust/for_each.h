// Thrust's loop as the bodies use it, emulated: see cuda_runtime.h above this.
#pragma once

#include <cstdint>

#include <thrust/system/cuda/execution_policy.h>

namespace thrust {

inline bool backwards = false;

/// Every other loop runs backwards: nothing may depend on the order.
template <typename Iterator, typename Body>
void for_each_n(cuda::Policy policy, Iterator first, int64_t count, Body body) {
  emulator::queue(policy.stream, [first, count, body] {
    backwards = !backwards;
    for (int64_t i = 0; i < count; ++i) body(*(first + (backwards ? count - 1 - i : i)));
  });
}

}  // namespace thrust
