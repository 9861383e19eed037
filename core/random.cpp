#include "core/random.h"

#include "kernels/table.h"

namespace dw {
namespace {
thread_local RandomScope* current = nullptr;
}

RandomScope::RandomScope(uint64_t seed, uint32_t step)
    : next_{seed, first_operation_stream, step}, previous_(current) {
  current = this;
}

RandomScope::RandomScope(uint64_t seed, const Tensor& step)
    : next_{seed, first_operation_stream, 0}, step_(step), previous_(current) {
  require(step.dtype() == DType::i64 && step.numel() == 1, "a RandomScope expects one i64 step, found {} {}",
          name_of(step.dtype()), step.shape());
  current = this;
}

RandomScope::~RandomScope() {
  current = previous_;
}

RandomKey RandomScope::next_key() {
  require(current != nullptr,
          "a random operation runs inside a RandomScope, which gives its seed and step; found none");
  const PhiloxKey key = current->next_;
  ++current->next_.stream;
  return {key, current->step_.defined() ? current->step_.data<int64_t>() : nullptr};
}

Tensor random_normal(const Shape& shape, const PhiloxKey& key, double mean, double deviation, DType dtype,
                     Device device, Layout layout) {
  const Tensor drawn = Tensor::empty(shape, dtype);
  kernels(cpu).normal(current_stream(cpu), key, drawn.view(), mean, deviation);
  return drawn.contiguous(layout).to(device);
}

Tensor random_uniform(const Shape& shape, const PhiloxKey& key, double low, double high, DType dtype,
                      Device device, Layout layout) {
  const Tensor drawn = Tensor::empty(shape, dtype);
  kernels(cpu).uniform(current_stream(cpu), key, drawn.view(), low, high);
  return drawn.contiguous(layout).to(device);
}

}  // namespace dw
