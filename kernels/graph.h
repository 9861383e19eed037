// Work recorded once and replayed: a training step of fixed shapes without its launch costs.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "kernels/device.h"

namespace dw {

/// A recorded piece of work. Move-only; replays queue on the device's current stream.
///
/// On CUDA the kernels that the body queues are captured into a CUDA graph, and a replay runs exactly those
/// on exactly those addresses. So run the body once before (pools, plans and handles fill up), read nothing
/// back inside it, keep in device memory what changes between replays, and keep what it reads and writes
/// alive as long as the graph. On the CPU a replay calls the body again. Either way the work happens in
/// replay() and not in capture(). What the body does on the host besides happens at capture on CUDA and at
/// every replay on the CPU.
class Graph {
 public:
  /// While capturing on CUDA no other thread may use the device, and the memory pool is frozen.
  /// Errors: whatever the body throws; on CUDA also a request that the pool has no cached memory for, and
  /// anything that waits for the device.
  static Graph capture(Device device, std::function<void()> body);

  void replay() const { recording_->replay(); }

  /// How a device replays; of interest to its implementation only.
  struct Recording {
    virtual ~Recording() = default;
    virtual void replay() const = 0;
  };

 private:
  explicit Graph(std::unique_ptr<Recording> recording) : recording_(std::move(recording)) {}
  std::unique_ptr<Recording> recording_;
};

}  // namespace dw
