// Graphs on CUDA: stream capture, with the memory that the capture used kept for the graph.
#include "kernels/graph.h"

#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/memory_pool.h"

namespace dw::cuda_backend {
namespace {

/// Blocks taken out of the pool for as long as this lives.
class HeldMemory {
 public:
  explicit HeldMemory(MemoryPool& pool) : pool_(&pool), blocks_(pool.take_cached()) {}
  HeldMemory(const HeldMemory&) = delete;
  HeldMemory& operator=(const HeldMemory&) = delete;
  ~HeldMemory() {
    for (void* block : blocks_) pool_->release(block);
  }

 private:
  MemoryPool* pool_;
  std::vector<void*> blocks_;
};

class FrozenPool {
 public:
  explicit FrozenPool(MemoryPool& pool) : pool_(pool) { pool_.set_frozen(true); }
  FrozenPool(const FrozenPool&) = delete;
  FrozenPool& operator=(const FrozenPool&) = delete;
  ~FrozenPool() { pool_.set_frozen(false); }

 private:
  MemoryPool& pool_;
};

/// `memory` is declared first, so that it is given back last.
struct CudaRecording final : Graph::Recording {
  CudaRecording(Stream on, MemoryPool& pool, cudaGraphExec_t graph)
      : memory(pool), stream(on), executable(graph) {}
  ~CudaRecording() override {
    cudaStreamSynchronize(static_cast<cudaStream_t>(stream.handle));
    cudaGraphExecDestroy(executable);
  }
  void replay() const override {
    const Stream current = current_stream(stream.device);
    check_cuda(cudaGraphLaunch(executable, static_cast<cudaStream_t>(current.handle)), "cudaGraphLaunch");
  }

  HeldMemory memory;
  Stream stream;
  cudaGraphExec_t executable;
};

/// Records what `body` queues. A body that throws leaves no capture behind.
cudaGraph_t record(cudaStream_t queue, const std::function<void()>& body) {
  // Thread-local: other threads may meanwhile allocate pinned memory and the like.
  check_cuda(cudaStreamBeginCapture(queue, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    cudaStreamEndCapture(queue, &graph);
    if (graph) cudaGraphDestroy(graph);
    static_cast<void>(cudaGetLastError());
    throw;
  }
  check_cuda(cudaStreamEndCapture(queue, &graph), "cudaStreamEndCapture");
  return graph;
}

}  // namespace

std::unique_ptr<Graph::Recording> capture(Device device, const std::function<void()>& body) {
  synchronize(device);
  const Stream stream = current_stream(device);
  MemoryPool& pool = memory_pool(device);
  cudaGraph_t graph = nullptr;
  {
    const FrozenPool frozen(pool);
    graph = record(static_cast<cudaStream_t>(stream.handle), body);
  }
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(status, "cudaGraphInstantiate");
  // Every block that the capture used and freed lies in cached memory now. Were it handed out again, a replay
  // would write over it.
  return std::make_unique<CudaRecording>(stream, pool, executable);
}

}  // namespace dw::cuda_backend
