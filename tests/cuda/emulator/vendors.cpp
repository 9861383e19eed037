// Convolutions and matrix products of the emulated GPU: the CPU's. cuDNN and cuBLAS are not emulated.
#include "kernels/cpu/recording.h"
#include "kernels/table.h"

namespace dw::cuda_backend {
namespace {

template <auto entry>
struct OnCpu;
template <typename... Arguments, void (*KernelTable::*entry)(Stream, Arguments...)>
struct OnCpu<entry> {
  static void call(Stream stream, Arguments... arguments) {
    emulator::queue(static_cast<cudaStream_t>(stream.handle),
                    [... copies = std::decay_t<Arguments>(arguments)] {
                      (cpu_backend::plain_table().*entry)({}, copies...);
                    });
  }
};

}  // namespace

void add_convolution(KernelTable& table) {
  table.conv_forward = OnCpu<&KernelTable::conv_forward>::call;
  table.conv_backward_data = OnCpu<&KernelTable::conv_backward_data>::call;
  table.conv_backward_weight = OnCpu<&KernelTable::conv_backward_weight>::call;
  table.conv_max_pool = OnCpu<&KernelTable::conv_max_pool>::call;
}

void add_matmul(KernelTable& table) {
  table.matmul = OnCpu<&KernelTable::matmul>::call;
}

}  // namespace dw::cuda_backend
