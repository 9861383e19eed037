// Graphs on CUDA: stream capture.
#include "kernels/graph.h"

#include "kernels/cuda/check.h"

namespace dw::cuda_backend {
namespace {

struct CudaRecording final : Graph::Recording {
  CudaRecording(Stream on, cudaGraphExec_t graph) : stream(on), executable(graph) {}
  ~CudaRecording() override {
    cudaStreamSynchronize(static_cast<cudaStream_t>(stream.handle));
    cudaGraphExecDestroy(executable);
  }
  void replay() const override {
    const Stream current = current_stream(stream.device);
    check_cuda(cudaGraphLaunch(executable, static_cast<cudaStream_t>(current.handle)), "cudaGraphLaunch");
  }

  Stream stream;
  cudaGraphExec_t executable;
};

/// Captures what `body` queues. A body that throws leaves no capture behind.
cudaGraph_t capture(cudaStream_t queue, const std::function<void()>& body) {
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

std::unique_ptr<Graph::Recording> record(Device device, const std::function<void()>& body) {
  const Stream stream = current_stream(device);
  const cudaGraph_t graph = capture(static_cast<cudaStream_t>(stream.handle), body);
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(status, "cudaGraphInstantiate");
  return std::make_unique<CudaRecording>(stream, executable);
}

}  // namespace dw::cuda_backend
