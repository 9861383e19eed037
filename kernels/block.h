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
#include <cooperative_groups.h>
#include <cuda_runtime.h>
#else
#include <omp.h>

#include <cstring>
#include <memory>
#endif

namespace dw::DEEPWATER_BACKEND {

inline constexpr int block_lanes = 256;

/// What a reduction or a scan needs of shared memory.
template <typename T>
struct LaneValues {
  T value[block_lanes];
};

/// What two neighbours in memory grow by.
struct Pair {
  uint32_t first, second;
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

  /// Runs prepare(i, first, second), which sets a First and a Second, and use(i, first, second) for i in
  /// [0, count), spread over the lanes, then waits for all lanes. Some are prepared ahead: on the CPU that
  /// loop vectorises where `use` scatters, on CUDA several reads of memory are then under way. `prepare` must
  /// not read what `use` writes for another index.
  template <typename First, typename Second, typename Prepare, typename Use>
  HD void each_prepared(int64_t count, const Prepare& prepare, Use use) const {
#ifdef __CUDA_ARCH__
    constexpr int ahead = 4;
    First first[ahead];
    Second second[ahead];
    int64_t i = threadIdx.x;
    for (; i + (ahead - 1) * block_lanes < count; i += ahead * block_lanes) {
#pragma unroll
      for (int k = 0; k < ahead; ++k) prepare(i + k * block_lanes, first[k], second[k]);
#pragma unroll
      for (int k = 0; k < ahead; ++k) use(i + k * block_lanes, first[k], second[k]);
    }
    // The rest likewise, not one after the other.
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      if (i + k * block_lanes < count) prepare(i + k * block_lanes, first[k], second[k]);
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      if (i + k * block_lanes < count) use(i + k * block_lanes, first[k], second[k]);
    __syncthreads();
#else
    constexpr int64_t run_length = 256;
    First first[run_length];
    Second second[run_length];
    for (int64_t start = 0; start < count; start += run_length) {
      const int64_t length = run_length < count - start ? run_length : count - start;
      for (int64_t i = 0; i < length; ++i) prepare(start + i, first[i], second[i]);
#ifndef __CUDACC__
#pragma GCC unroll 4
#endif
      for (int64_t i = 0; i < length; ++i) use(start + i, first[i], second[i]);
    }
#endif
  }

  /// Runs use(i, look_up(prepare(i)), before(i)) likewise; before(i) reads what `use` changes. Where a table
  /// is read does not vectorise: that has a loop of its own on the CPU, so that the others do.
  template <typename Prepare, typename LookUp, typename Before, typename Use>
  HD void each_looked_up(int64_t count, const Prepare& prepare, const LookUp& look_up, const Before& before,
                         const Use& use) const {
#ifdef __CUDA_ARCH__
    using Found = decltype(look_up(prepare(int64_t{0})));
    using Old = decltype(before(int64_t{0}));
    each_prepared<Found, Old>(
        count,
        [&](int64_t i, Found& found, Old& old) {
          old = before(i);
          found = look_up(prepare(i));
        },
        use);
#else
    constexpr int64_t run_length = 256;
    decltype(prepare(int64_t{0})) run[run_length];
    decltype(look_up(run[0])) found[run_length];
    for (int64_t start = 0; start < count; start += run_length) {
      const int64_t length = run_length < count - start ? run_length : count - start;
      for (int64_t i = 0; i < length; ++i) run[i] = prepare(start + i);
      for (int64_t i = 0; i < length; ++i) found[i] = look_up(run[i]);
      for (int64_t i = 0; i < length; ++i) use(start + i, found[i], before(start + i));
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
    // Several values are read before the first is combined.
    constexpr int ahead = 8;
    T own = identity;
    int64_t i = threadIdx.x;
    for (; i + (ahead - 1) * block_lanes < count; i += ahead * block_lanes) {
      T read[ahead];
#pragma unroll
      for (int k = 0; k < ahead; ++k) read[k] = value(i + k * block_lanes);
#pragma unroll
      for (int k = 0; k < ahead; ++k) own = combine(own, read[k]);
    }
    T rest[ahead];
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      rest[k] = i + k * block_lanes < count ? value(i + k * block_lanes) : identity;
#pragma unroll
    for (int k = 0; k < ahead; ++k) own = combine(own, rest[k]);
    lanes.value[threadIdx.x] = own;
    __syncthreads();
    constexpr int warp_lanes = 32;
    for (int width = block_lanes / 2; width >= warp_lanes; width /= 2) {
      if (threadIdx.x < width)
        lanes.value[threadIdx.x] = combine(lanes.value[threadIdx.x], lanes.value[threadIdx.x + width]);
      __syncthreads();
    }
    // The first warp waits only for itself.
    if (threadIdx.x < warp_lanes)
      for (int width = warp_lanes / 2; width > 0; width /= 2) {
        if (threadIdx.x < width)
          lanes.value[threadIdx.x] = combine(lanes.value[threadIdx.x], lanes.value[threadIdx.x + width]);
        __syncwarp();
      }
    __syncthreads();
    const T result = lanes.value[0];
    __syncthreads();
    return result;
#else
    static_cast<void>(lanes);
    T own[block_lanes];
    for (T& of_lane : own) of_lane = identity;
    int64_t start = 0;
    for (; start + block_lanes <= count; start += block_lanes)
      for (int64_t lane = 0; lane < block_lanes; ++lane) own[lane] = combine(own[lane], value(start + lane));
    for (int64_t lane = 0; start + lane < count; ++lane) own[lane] = combine(own[lane], value(start + lane));
    for (int width = block_lanes / 2; width > 0; width /= 2)
      for (int lane = 0; lane < width; ++lane) own[lane] = combine(own[lane], own[lane + width]);
    return own[0];
#endif
  }

  /// Replaces data[i] by combine(data[0], ..., data[i]) for i in [0, count), and ends with a barrier.
  /// `combine` must be associative in value (whole numbers), or the rounding differs between the devices.
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

  /// Adds to two neighbours in this block's own shared memory, to which its other lanes add too. Neither sum
  /// may overflow.
  HD void add_in_block(uint32_t* address, const Pair& pair) const {
#ifdef __CUDA_ARCH__
    atomicAdd(address, pair.first);
    atomicAdd(address + 1, pair.second);
#else
    // As one number: half the loads and stores.
    uint64_t sum, both;
    std::memcpy(&sum, address, sizeof sum);
    std::memcpy(&both, &pair, sizeof both);
    sum += both;
    std::memcpy(address, &sum, sizeof sum);
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

  /// Adds counts[i] to sums[i] for i in [0, count); other blocks add to the same sums. Ends with a barrier.
  HD void atomic_add_all(int64_t* sums, const uint32_t* counts, int64_t count) const {
#ifdef __CUDA_ARCH__
    each(count, [&](int64_t i) {
      if (counts[i] != 0) atomic_add(sums + i, counts[i]);
    });
#else
    // One block at a time: thousands of atomic additions would take longer than what they wait for.
#ifndef __CUDACC__
#pragma omp critical(dw_block_sums)
#endif
    for (int64_t i = 0; i < count; ++i) sums[i] += counts[i];
#endif
  }
};

/// One of the blocks of run_crew(): they all run at once, and can wait for each other.
class CrewBlock : public Block {
 public:
  HD CrewBlock(int64_t index, int64_t count) : index_(index), count_(count) {}
  HD int64_t index() const { return index_; }
  HD int64_t count() const { return count_; }

  /// The first of this block's share of `items`; the share ends where the next block's begins.
  HD int64_t begin(int64_t items) const { return items * index_ / count_; }
  HD int64_t end(int64_t items) const { return items * (index_ + 1) / count_; }

  /// Waits until every block of the crew is here; what they wrote is then seen by all.
  HD void meet() const {
#ifdef __CUDA_ARCH__
    cooperative_groups::this_grid().sync();
#else
#ifndef __CUDACC__
#pragma omp barrier
#endif
#endif
  }

 private:
  int64_t index_, count_;
};

#ifdef __CUDACC__
template <typename Shared, typename Body>
__global__ void block_kernel(Body body) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Block block;
  body(block, static_cast<int64_t>(blockIdx.x), *reinterpret_cast<Shared*>(memory));
}

/// Registers for three blocks on a processor: what a crew has under way at once is what hides the memory's
/// time.
template <typename Shared, typename Body>
__global__ void __launch_bounds__(block_lanes, 3) crew_kernel(Body body) {
  extern __shared__ __align__(16) unsigned char memory[];
  body(CrewBlock(blockIdx.x, gridDim.x), *reinterpret_cast<Shared*>(memory));
}

inline void check_launch(cudaError_t error, Stream stream) {
  require(error == cudaSuccess, "launch of a block kernel on {} failed: {}", to_string(stream.device),
          cudaGetErrorString(error));
}

/// Before anything else is asked of a kernel whose blocks share so much memory.
template <typename Body>
void allow_shared_memory(Stream stream, void (*kernel)(Body), size_t bytes) {
  constexpr size_t always_allowed = 48 * 1024;
  if (bytes > always_allowed)
    check_launch(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        stream);
}

/// Queues a kernel of so many blocks that share `shared_bytes` each; all at once with `together`.
template <typename Body>
void queue_blocks(Stream stream, void (*kernel)(Body), int64_t blocks, size_t shared_bytes, const Body& body,
                  bool together) {
  cudaLaunchAttribute cooperative{};
  cooperative.id = cudaLaunchAttributeCooperative;
  cooperative.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(blocks);
  config.blockDim = block_lanes;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream.handle);
  config.attrs = &cooperative;
  config.numAttrs = together ? 1 : 0;
  check_launch(cudaLaunchKernelEx(&config, kernel, body), stream);
}
#else
/// On the heap: a thread's own variable would be looked up anew in every loop.
template <typename Shared>
Shared& shared_of_thread() {
  static thread_local const auto shared = std::make_unique<Shared>();
  return *shared;
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
  const auto kernel = block_kernel<Shared, Body>;
  allow_shared_memory(stream, kernel, sizeof(Shared));
  queue_blocks(stream, kernel, blocks, sizeof(Shared), body, false);
#else
  static_cast<void>(stream);
#pragma omp parallel for schedule(dynamic) if (parallel && blocks > 1)
  for (int64_t index = 0; index < blocks; ++index) {
    body(Block{}, index, shared_of_thread<Shared>());
  }
#endif
}

/// Runs `body(crew_block, shared)` in as many blocks as the device runs at once, at most `most_blocks`: one
/// launch with several phases in it. Results must not depend on how many blocks there are.
template <typename Shared, typename Body>
void run_crew(Stream stream, int64_t most_blocks, const Body& body) {
  if (most_blocks < 1) return;
#ifdef __CUDACC__
  const auto kernel = crew_kernel<Shared, Body>;
  allow_shared_memory(stream, kernel, sizeof(Shared));
  int device = 0, processors = 0, blocks_each = 0;
  check_launch(cudaGetDevice(&device), stream);
  check_launch(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), stream);
  check_launch(
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks_each, kernel, block_lanes, sizeof(Shared)),
      stream);
  const int64_t resident = static_cast<int64_t>(processors) * blocks_each;
  queue_blocks(stream, kernel, most_blocks < resident ? most_blocks : resident, sizeof(Shared), body, true);
#else
  static_cast<void>(stream);
  const int64_t threads = omp_get_max_threads();
  const int members = static_cast<int>(most_blocks < threads ? most_blocks : threads);
#pragma omp parallel num_threads(members)
  { body(CrewBlock(omp_get_thread_num(), omp_get_num_threads()), shared_of_thread<Shared>()); }
#endif
}

}  // namespace dw::DEEPWATER_BACKEND
