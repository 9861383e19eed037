// Block executor: block-cooperative kernels written once, as phases separated by barriers, for CUDA blocks
// and for plain loops. A body is a functor `void operator()(Block& block, int64_t index, Shared& shared)
// const` where Shared is a trivial struct of its own; `block.each(n, f)` runs f(0..n-1) by all lanes and ends
// with a barrier. On the CPU one thread runs a block from start to end, so phases are loops: the index and
// phase logic is tested and sanitised without a GPU. Include from bodies/*.cpp only.
#pragma once

#include <cstdint>

#include "kernels/bodies/backend.h"
#include "kernels/device.h"
#include "kernels/hd.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <omp.h>
#endif

namespace dw::DEEPWATER_BACKEND {

inline constexpr int block_lanes = 256;

/// What a reduction or a scan needs of shared memory.
template <typename T>
struct LaneValues {
  T value[block_lanes];
};

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

  /// Runs use(i, prepare(i)) for i in [0, count), spread over the lanes, then waits for all lanes. On the CPU
  /// a run of values is prepared ahead: that loop vectorises where `use` scatters. `prepare` must not read
  /// what `use` writes.
  template <typename Prepare, typename Use>
  HD void each_prepared(int64_t count, const Prepare& prepare, const Use& use) const {
#ifdef __CUDA_ARCH__
    each(count, [&](int64_t i) { use(i, prepare(i)); });
#else
    constexpr int64_t run_length = 256;
    decltype(prepare(int64_t{0})) run[run_length];
    for (int64_t start = 0; start < count; start += run_length) {
      const int64_t length = run_length < count - start ? run_length : count - start;
      for (int64_t i = 0; i < length; ++i) run[i] = prepare(start + i);
      for (int64_t i = 0; i < length; ++i) use(start + i, run[i]);
    }
#endif
  }

  /// Combines value(i) for i in [0, count); every lane gets the result. Lane l takes i = l, l + 256, ... in
  /// order, then a tree joins the lanes: the same order, and so the same bits, on both devices.
  /// `identity` combined with x is x.
  template <typename T, typename Value, typename Combine>
  HD T reduce(int64_t count, T identity, LaneValues<T>& lanes, const Value& value,
              const Combine& combine) const {
#ifdef __CUDA_ARCH__
    T own = identity;
    for (int64_t i = threadIdx.x; i < count; i += block_lanes) own = combine(own, value(i));
    lanes.value[threadIdx.x] = own;
    __syncthreads();
    for (int width = block_lanes / 2; width > 0; width /= 2) {
      if (threadIdx.x < width)
        lanes.value[threadIdx.x] = combine(lanes.value[threadIdx.x], lanes.value[threadIdx.x + width]);
      __syncthreads();
    }
    const T result = lanes.value[0];
    __syncthreads();
    return result;
#else
    T* own = lanes.value;
    for (int lane = 0; lane < block_lanes; ++lane) own[lane] = identity;
    int64_t i = 0;
    for (; i + block_lanes <= count; i += block_lanes)
      for (int lane = 0; lane < block_lanes; ++lane) own[lane] = combine(own[lane], value(i + lane));
    for (int lane = 0; i + lane < count; ++lane) own[lane] = combine(own[lane], value(i + lane));
    for (int width = block_lanes / 2; width > 0; width /= 2)
      for (int lane = 0; lane < width; ++lane) own[lane] = combine(own[lane], own[lane + width]);
    return own[0];
#endif
  }

  /// Replaces data[i] by combine(data[0], ..., data[i]) for i in [0, count), and ends with a barrier.
  /// `combine` must be associative in value (integers), or the rounding differs between the devices.
  template <typename T, typename Combine>
  HD void inclusive_scan(int64_t count, T* data, LaneValues<T>& lanes, const Combine& combine) const {
#ifdef __CUDA_ARCH__
    // Each lane owns a stretch: scan it, scan the totals (Hillis & Steele), add what came before.
    const int lane = static_cast<int>(threadIdx.x);
    const int64_t stretch = (count + block_lanes - 1) / block_lanes;
    const int64_t begin = lane * stretch < count ? lane * stretch : count;
    const int64_t end = begin + stretch < count ? begin + stretch : count;
    for (int64_t i = begin + 1; i < end; ++i) data[i] = combine(data[i - 1], data[i]);
    if (begin < end) lanes.value[lane] = data[end - 1];
    __syncthreads();
    const int used = stretch > 0 ? static_cast<int>((count + stretch - 1) / stretch) : 0;
    for (int step = 1; step < used; step *= 2) {
      const bool joins = lane >= step && lane < used;
      const T joined = joins ? combine(lanes.value[lane - step], lanes.value[lane]) : T{};
      __syncthreads();
      if (joins) lanes.value[lane] = joined;
      __syncthreads();
    }
    if (lane > 0)
      for (int64_t i = begin; i < end; ++i) data[i] = combine(lanes.value[lane - 1], data[i]);
    __syncthreads();
#else
    static_cast<void>(lanes);
    for (int64_t i = 1; i < count; ++i) data[i] = combine(data[i - 1], data[i]);
#endif
  }

  /// Adds to this block's own shared memory, to which its other lanes add too.
  HD void add_in_block(uint32_t* address, uint32_t value) const {
#ifdef __CUDA_ARCH__
    atomicAdd(address, value);
#else
    *address += value;
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
  extern __shared__ __align__(16) unsigned char memory[];
  const Block block;
  body(block, static_cast<int64_t>(blockIdx.x), *reinterpret_cast<Shared*>(memory));
}
#endif

/// Runs `body` for every block index in [0, blocks), fewer than 2³¹. Blocks are independent and may run in
/// any order. On the CPU, few small blocks are best run by one thread: say so with `parallel`.
template <typename Shared, typename Body>
void for_each_block(Stream stream, int64_t blocks, const Body& body, bool parallel = true) {
  if (blocks == 0) return;
#ifdef __CUDACC__
  static_cast<void>(parallel);
  require(blocks <= INT32_MAX, "{} blocks do not fit one CUDA grid", blocks);
  if (sizeof(Shared) > 48 * 1024)
    cudaFuncSetAttribute(block_kernel<Shared, Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         sizeof(Shared));
  block_kernel<Shared><<<static_cast<unsigned>(blocks), block_lanes, sizeof(Shared),
                         static_cast<cudaStream_t>(stream.handle)>>>(body);
  const cudaError_t error = cudaGetLastError();
  require(error == cudaSuccess, "launch of a block kernel on {} failed: {}", to_string(stream.device),
          cudaGetErrorString(error));
#else
  static_cast<void>(stream);
#pragma omp parallel for schedule(dynamic) if (parallel && blocks > 1)
  for (int64_t index = 0; index < blocks; ++index) {
    static thread_local Shared shared;
    body(Block{}, index, shared);
  }
#endif
}

}  // namespace dw::DEEPWATER_BACKEND
