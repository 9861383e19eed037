// Runs a test on every device that is present, and says which one it skipped.
#pragma once

#include <doctest/doctest.h>

#include "kernels/device.h"

namespace dw {

/// Calls body(device) for the CPU and, where a GPU is present, for the first GPU.
template <typename Body>
void for_each_device(const Body& body) {
  body(cpu);
  if (cuda_device_count() > 0) {
    const Device cuda{DeviceType::cuda, 0};
    CAPTURE(to_string(cuda));
    body(cuda);
  } else {
    MESSAGE("skipped on cuda: no GPU is present");
  }
}

}  // namespace dw
