// What the graphs of all devices have in common: the frozen pool and the memory they keep.
#include "kernels/graph.h"

#include <utility>

#include "kernels/memory_pool.h"
#include "kernels/table.h"

namespace dw {

namespace cpu_backend {
std::unique_ptr<Graph::Recording> record(const std::function<void()>& body, const CaptureOptions& options);
}
namespace cuda_backend {
#ifdef DEEPWATER_HAS_CUDA
std::unique_ptr<Graph::Recording> record(Device device, const std::function<void()>& body);
#else
namespace {
std::unique_ptr<Graph::Recording> record(Device, const std::function<void()>&) {
  return nullptr;
}
}  // namespace
#endif
}  // namespace cuda_backend

namespace {

thread_local bool capturing = false;

/// While one lives, this thread captures and the pool asks the system for nothing.
class Capturing {
 public:
  explicit Capturing(MemoryPool& pool) : pool_(pool) {
    require(!capturing, "a graph was captured inside another one");
    capturing = true;
    pool_.set_frozen(true);
  }
  Capturing(const Capturing&) = delete;
  Capturing& operator=(const Capturing&) = delete;
  ~Capturing() {
    pool_.set_frozen(false);
    capturing = false;
  }

 private:
  MemoryPool& pool_;
};

}  // namespace

class Graph::HeldMemory {
 public:
  explicit HeldMemory(MemoryPool& pool) : pool_(pool), blocks_(pool.take_cached()) {}
  HeldMemory(const HeldMemory&) = delete;
  HeldMemory& operator=(const HeldMemory&) = delete;
  ~HeldMemory() {
    for (void* block : blocks_) pool_.release(block);
  }

 private:
  MemoryPool& pool_;
  std::vector<void*> blocks_;
};

Graph::Graph(std::unique_ptr<HeldMemory> memory, std::unique_ptr<Recording> recording)
    : memory_(std::move(memory)), recording_(std::move(recording)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&& other) noexcept {
  recording_ = std::move(other.recording_);  // the old one waits for its device before its memory goes
  memory_ = std::move(other.memory_);
  return *this;
}
Graph::~Graph() = default;

Graph Graph::capture(Device device, const std::function<void()>& body, const CaptureOptions& options) {
  synchronize(device);  // an Error where it is absent
  MemoryPool& pool = memory_pool(device);
  std::unique_ptr<Recording> recording;
  {
    const Capturing frozen(pool);
    recording = device.type == DeviceType::cpu ? cpu_backend::record(body, options)
                                               : cuda_backend::record(device, body);
  }
  return {std::make_unique<HeldMemory>(pool), std::move(recording)};
}

bool Graph::is_capturing() {
  return capturing;
}

}  // namespace dw
