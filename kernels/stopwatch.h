// Times stretches of a device's work where it runs: by the clock on the CPU, by events in the queue on CUDA.
#pragma once

#include <memory>
#include <vector>

#include "kernels/device.h"

namespace dw {

class Stopwatch {
 public:
  /// Error where the device's half is not built.
  static std::unique_ptr<Stopwatch> on(DeviceType type);

  Stopwatch() = default;
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  virtual ~Stopwatch() = default;

  /// Begins a stretch of what is queued on `stream`; stretches do not nest.
  virtual void start(Stream stream) = 0;
  virtual void stop() noexcept = 0;
  /// The seconds of every stretch since the last call, in order; waits for the device. On CUDA a stretch
  /// that was captured into a graph counts 0.
  virtual std::vector<double> laps() = 0;
};

}  // namespace dw
