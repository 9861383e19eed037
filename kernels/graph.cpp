// Graphs on the CPU, and the way to those of CUDA.
#include "kernels/graph.h"

#include <utility>

#include "kernels/table.h"

namespace dw {

#ifdef DEEPWATER_HAS_CUDA
namespace cuda_backend {
std::unique_ptr<Graph::Recording> capture(Device device, const std::function<void()>& body);
}
#endif

namespace {

struct CpuRecording final : Graph::Recording {
  explicit CpuRecording(std::function<void()> work) : body(std::move(work)) {}
  void replay() const override { body(); }
  std::function<void()> body;
};

}  // namespace

Graph Graph::capture(Device device, std::function<void()> body) {
  static_cast<void>(kernels(device));  // an Error where it is absent
#ifdef DEEPWATER_HAS_CUDA
  if (device.type == DeviceType::cuda) return Graph(cuda_backend::capture(device, body));
#endif
  return Graph(std::make_unique<CpuRecording>(std::move(body)));
}

}  // namespace dw
