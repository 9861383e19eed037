// Work recorded once and replayed: a training step of fixed shapes without its launch costs.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kernels/device.h"

namespace dw {

/// What a capture may take for granted.
struct CaptureOptions {
  /// The filters of convolutions keep the values that they have at the first replay, so that what a kernel
  /// makes of them is made once, and kept where it pays (up to 16 MiB): for inference. On CUDA, where cuDNN
  /// takes filters as they are, without effect.
  bool constant_filters = false;
};

/// A recorded piece of work. Move-only; replays queue on the device's current stream.
///
/// The kernels that the body queues are written down, and a replay runs exactly those on exactly those
/// addresses: on CUDA as a CUDA graph, on the CPU as a list of calls, so that what a step does wrong under
/// capture shows there too. What the body does on the host besides happens at capture alone. So run the body
/// once before (pools, plans and handles fill up), read nothing back inside it, keep in device memory what
/// changes between replays, and keep what it reads and writes alive as long as the graph.
class Graph {
 public:
  /// The work happens in replay(), not here. While capturing on CUDA no other thread may use the device; the
  /// memory pool is frozen. Errors: whatever the body throws; a request that the pool has no cached memory
  /// for; anything that waits for the device or touches memory of the host; on the CPU an optimizer's step
  /// with constant filters.
  static Graph capture(Device device, const std::function<void()>& body, const CaptureOptions& options = {});

  /// Whether this thread is inside capture(). What would then be forgotten, or copied from the host, can wait
  /// until after it.
  static bool is_capturing();

  void replay() const { recording_->replay(); }

  /// How a device replays; of interest to its implementation only.
  struct Recording {
    virtual ~Recording() = default;
    virtual void replay() const = 0;
  };

 private:
  /// The pool's cached memory, which the capture used and gave back: were it handed out again, a replay would
  /// write over it.
  class HeldMemory;
  Graph(std::unique_ptr<HeldMemory> memory, std::unique_ptr<Recording> recording);

 public:
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();

 private:
  std::unique_ptr<HeldMemory> memory_;  // given back after the recording is gone
  std::unique_ptr<Recording> recording_;
};

/// Runs a CPU kernel that is not in the kernel table; while a graph is captured it is written down instead.
/// `kernel` holds copies of its arguments.
void queue_on_cpu(std::function<void()> kernel);

}  // namespace dw
