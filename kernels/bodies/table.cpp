// Assembles the kernel table of one backend; each line is one source file of this folder, cpu/ or cuda/.
#include "kernels/table.h"

#include "kernels/bodies/backend.h"

namespace dw::DEEPWATER_BACKEND {

void add_elementwise(KernelTable&);
void add_reduce(KernelTable&);
void add_index(KernelTable&);
void add_random(KernelTable&);
void add_optimizer(KernelTable&);
void add_convert(KernelTable&);
void add_pooling(KernelTable&);
void add_device(KernelTable&);
void add_batch_norm(KernelTable&);
void add_cross_entropy(KernelTable&);
void add_convolution(KernelTable&);
void add_matmul(KernelTable&);
void add_pooled_convolution(KernelTable&);  // on the CPU only
void add_bf16(KernelTable&);                // on the CPU only: kernels of CUDA read bf16 themselves

KernelTable make_table() {
  KernelTable table{};
  add_device(table);
  add_elementwise(table);
  add_reduce(table);
  add_index(table);
  add_random(table);
  add_optimizer(table);
  add_convert(table);
  add_pooling(table);
  add_batch_norm(table);
  add_cross_entropy(table);
  add_convolution(table);
  add_matmul(table);
  if constexpr (!on_cuda) {
    add_pooled_convolution(table);
    add_bf16(table);
  }
  return table;
}

}  // namespace dw::DEEPWATER_BACKEND
