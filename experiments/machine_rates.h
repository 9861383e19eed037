// What this machine can do at most, measured: the rates that profiles and benchmarks are compared with.
#pragma once

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace dw {

struct MachineRates {
  /// A second: a large matrix product by the fastest library there is, in f32; on a GPU in the precision that
  /// is set (kernels/precision.h).
  double flops = 0;
  double bytes = 0;  ///< a second: a ← a + s · b on large arrays (as STREAM's triad), two in, one out
  double fork_seconds = 0;  ///< of starting and joining the threads of one parallel region; 0 on CUDA
};

/// The best of several runs with the threads in use; takes about a second.
MachineRates measure_machine(Device device);
/// Its parts, where only one is of interest.
double matmul_rate(Device device, DType dtype = DType::f32);  ///< flops a second
double memory_rate(Device device);                            ///< bytes a second

/// The least seconds that work can take on a machine, and whether arithmetic rather than memory sets them.
struct Floor {
  double seconds = 0;
  bool by_flops = false;
};
Floor floor_of(double flops, double bytes, const MachineRates& machine);

}  // namespace dw
