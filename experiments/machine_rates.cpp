#include "experiments/machine_rates.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "core/random.h"
#include "core/tensor.h"
#include "kernels/precision.h"
#include "kernels/table.h"

namespace dw {
namespace {

// The shortest of several runs, after one that does not count.
template <typename Work>
double least_seconds(Device device, int runs, const Work& work) {
  using Clock = std::chrono::steady_clock;
  double least = std::numeric_limits<double>::infinity();
  work();
  for (int i = 0; i < runs; ++i) {
    synchronize(device);
    const Clock::time_point start = Clock::now();
    work();
    synchronize(device);
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return least;
}

double fork_seconds() {
  constexpr int regions = 100;
  int threads = 0;
  const double seconds = least_seconds(cpu, 15, [&] {
    for (int i = 0; i < regions; ++i) {
#pragma omp parallel
      {
#pragma omp atomic
        ++threads;
      }
    }
  });
  return seconds / regions;
}

}  // namespace

// Of the product's kernel, and of the convolution's, whose 1×1 filters make it a matrix product too: on a new
// processor one may know its instructions and the other not.
double matmul_rate(Device device, DType dtype) {
  const int64_t n = device == cpu ? 1536 : 8192;
  // Numbers as data has them: a GPU multiplies zeros and powers of two faster, as they take less current.
  const Tensor a = random_normal({n, n}, {1, 1, 0}, 0, 1, DType::f32, device).to(dtype);
  const Tensor b = random_normal({n, n}, {1, 1, 1}, 0, 1, DType::f32, device).to(dtype);
  const Tensor c = Tensor::empty({n, n}, dtype, device);
  const MatmulShape product{.m = n, .n = n, .k = n, .dtype = dtype};
  ConvShape convolution;
  convolution.dtype = dtype;
  convolution.in_height = convolution.in_width = 16;
  convolution.batch = n / (16 * 16);  // n rows
  convolution.in_channels = convolution.out_channels = n;
  convolution.kernel_height = convolution.kernel_width = 1;
  const double by_product = least_seconds(device, 5, [&] {
    kernels(device).matmul(current_stream(device), product, a.raw_data(), b.raw_data(), c.raw_data());
  });
  const double by_convolution = least_seconds(device, 5, [&] {
    kernels(device).conv_forward(current_stream(device), convolution, a.raw_data(), b.raw_data(),
                                 c.raw_data());
  });
  const auto side = static_cast<double>(n);
  return 2 * side * side * side / std::min(by_product, by_convolution);
}

double memory_rate(Device device) {
  // Larger than caches, and on a GPU long enough for launching not to count.
  const int64_t count = int64_t{1} << (device == cpu ? 24 : 28);
  const Tensor in = Tensor::full({count}, 0.5, DType::f32, device);
  const Tensor out = Tensor::full({count}, 0.25, DType::f32, device);
  const double seconds = least_seconds(
      device, 15, [&] { kernels(device).axpy(current_stream(device), 0.5, in.view(), out.view()); });
  return 3.0 * static_cast<double>(count) * sizeof(float) / seconds;
}

MachineRates measure_machine(Device device) {
  const bool in_bf16 = device != cpu && precision() == Precision::bf16;
  return {matmul_rate(device, in_bf16 ? DType::bf16 : DType::f32), memory_rate(device),
          device == cpu ? fork_seconds() : 0};
}

Floor floor_of(double flops, double bytes, const MachineRates& machine) {
  const double arithmetic = flops / machine.flops, memory = bytes / machine.bytes;
  return {std::max(arithmetic, memory), arithmetic >= memory && arithmetic > 0};
}

}  // namespace dw
