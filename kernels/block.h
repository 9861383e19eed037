// Block executor: block-cooperative kernels written once, as phases separated by barriers, for CUDA blocks
// and for plain loops. A body is a functor `void operator()(Block& block, int64_t index, Shared& shared)
// const` where Shared is a trivial struct of its own; `block.each(n, f)` runs f(0..n-1) by all lanes and ends
// with a barrier. On the CPU one thread runs a block from start to end, so phases are loops: the index and
// phase logic is tested and sanitised without a GPU. Include from bodies/*.cpp only.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/hd.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define DEEPWATER_BACKEND cuda_backend
#else
#include <omp.h>
#define DEEPWATER_BACKEND cpu_backend
#endif

namespace dw::DEEPWATER_BACKEND {

inline constexpr int block_lanes = 256;

class Block {
 public:
  /// Runs body(i) for i in [0, count), spread over the lanes, then waits for all lanes.
  template <typename Body>
  HD void each(int64_t count, Body&& body) const {
#ifdef __CUDA_ARCH__
    for (int64_t i = threadIdx.x; i < count; i += block_lanes) body(i);
    __syncthreads();
#else
    for (int64_t i = 0; i < count; ++i) body(i);
#endif
  }

  /// Adds to memory that other lanes or blocks add to. Integers only: the order of additions is not fixed.
  HD void atomic_add(int64_t* address, int64_t value) const {
#ifdef __CUDA_ARCH__
    atomicAdd(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value));
#else
    __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
#endif
  }
};

#ifdef __CUDACC__
template <typename Shared, typename Body>
__global__ void block_kernel(Body body) {
  extern __shared__ unsigned char memory[];
  const Block block;
  body(block, static_cast<int64_t>(blockIdx.x), *reinterpret_cast<Shared*>(memory));
}
#endif

/// Runs `body` for every block index in [0, blocks). Blocks are independent and may run in any order.
template <typename Shared, typename Body>
void for_each_block(Stream stream, int64_t blocks, const Body& body) {
  if (blocks == 0) return;
#ifdef __CUDACC__
  if (sizeof(Shared) > 48 * 1024)
    cudaFuncSetAttribute(block_kernel<Shared, Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         sizeof(Shared));
  block_kernel<Shared><<<static_cast<unsigned>(blocks), block_lanes, sizeof(Shared),
                         static_cast<cudaStream_t>(stream.handle)>>>(body);
#else
  static_cast<void>(stream);
#pragma omp parallel for schedule(dynamic) if (blocks > 1)
  for (int64_t index = 0; index < blocks; ++index) {
    static thread_local Shared shared;
    body(Block{}, index, shared);
  }
#endif
}

}  // namespace dw::DEEPWATER_BACKEND
