// What `deepwater bench` measures: machine, kernels, and the work around them, at the shapes of real
// networks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace dw {

struct BenchmarkCase {
  std::string name;  ///< "conv_forward/wrn-10-4/b64-64x32x32-64-3x3": kernel, where it occurs, problem
  /// Makes what the benchmark works on; the function it returns is what is timed, and keeps that alive.
  std::function<std::function<void()>()> prepare;
  bool only_queues = false;  ///< on a GPU, and so can be captured and replayed there (kernels/graph.h)
};

/// The machine's own rates and every kernel family at the shapes of WRN-10-1, WRN-10-4 and ResNet-18. Under
/// --precision bf16 matrices, images and activations are bf16.
std::vector<BenchmarkCase> kernel_benchmarks(Device device);

/// The loader, augmentation, the mark's gradient, reading and verification.
std::vector<BenchmarkCase> workflow_benchmarks(Device device);

}  // namespace dw
