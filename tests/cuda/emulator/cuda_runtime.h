// What the CUDA half uses of CUDA, for a GPU that is emulated on the CPU: g++ compiles the kernels' device
// code and the host code that queues them against this header, with __CUDACC__ and __CUDA_ARCH__ defined,
// and tests then run on a device that is always there. See docs/gpu.md for what that shows and what not.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

#define __host__
#define __device__
#define __global__
#define __shared__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned count = 1) : x(count) {}  // NOLINT: converts, as CUDA's does
};

enum cudaError_t {
  cudaSuccess,
  cudaErrorInvalidValue,
  cudaErrorMemoryAllocation,
  cudaErrorInvalidConfiguration,
  cudaErrorInvalidDevice,
  cudaErrorCooperativeLaunchTooLarge,
  cudaErrorStreamCaptureUnsupported,
  cudaErrorStreamCaptureInvalidated
};
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

struct cudaDeviceProp {
  char name[256];
  int multiProcessorCount;
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);

using cudaStream_t = struct EmulatedStream*;
inline constexpr unsigned cudaStreamNonBlocking = 1;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaDeviceSynchronize();

enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
cudaError_t cudaMalloc(void** data, size_t bytes);
cudaError_t cudaFree(void* data);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);

using cudaGraph_t = struct EmulatedGraph*;
using cudaGraphExec_t = struct EmulatedGraph*;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

using cudaEvent_t = struct EmulatedEvent*;
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);

// What a thread of the device sees.
struct EmulatedIndex {
  unsigned x;
};
extern EmulatedIndex threadIdx, blockIdx, gridDim;
namespace dw::cuda_backend {
extern __align__(16) unsigned char memory[];  // shared, as the kernels call it
}

namespace emulator {

inline constexpr int warp_lanes = 32, most_lanes = 1024;  ///< of a block
inline constexpr size_t most_shared_bytes = 232448;       ///< of a block on Hopper

enum class Barrier : uint8_t { none, warp, block, grid };
/// Waits until all lanes of the warp, of the block or of the grid that have not ended are there.
void wait(Barrier barrier);

/// Where lanes of a warp leave what others read.
extern unsigned char exchange[most_lanes][16];

struct Launch {
  unsigned blocks = 1, lanes = 1;
  size_t shared_bytes = 0;
  bool together = false;  ///< all blocks at once, which can then wait for each other
};
/// Runs a kernel on all lanes of all blocks.
void run_grid(const Launch& launch, const std::function<void()>& kernel);

/// Does a piece of work when the stream comes to it, or at every replay of the graph that is captured.
void queue(cudaStream_t stream, std::function<void()> work);

/// Errors that CUDA finds before a launch.
cudaError_t check_launch(const Launch& launch, const void* kernel, size_t argument_bytes);
cudaError_t allow_shared_memory(const void* kernel, size_t bytes);

template <typename T>
T exchanged(T value, int from_lane) {
  static_assert(sizeof(T) <= sizeof(exchange[0]));
  const unsigned warp = threadIdx.x / warp_lanes * warp_lanes;
  __builtin_memcpy(exchange[threadIdx.x], &value, sizeof(T));
  wait(Barrier::warp);
  if (from_lane < warp_lanes)
    __builtin_memcpy(&value, exchange[warp + static_cast<unsigned>(from_lane)], sizeof(T));
  wait(Barrier::warp);
  return value;
}

}  // namespace emulator

inline void __syncthreads() {
  emulator::wait(emulator::Barrier::block);
}
inline void __syncwarp() {
  emulator::wait(emulator::Barrier::warp);
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return emulator::exchanged(value, lane);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned distance) {
  return emulator::exchanged(value, static_cast<int>(threadIdx.x % emulator::warp_lanes + distance));
}
/// Lanes take turns at barriers only.
template <typename T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address = before + value;
  return before;
}

struct cudaLaunchAttribute {
  int id;
  struct {
    int cooperative;
  } val;
};
inline constexpr int cudaLaunchAttributeCooperative = 1;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const emulator::Launch launch{config->gridDim.x, config->blockDim.x, config->dynamicSmemBytes,
                                config->numAttrs > 0 && config->attrs[0].val.cooperative != 0};
  const cudaError_t error =
      emulator::check_launch(launch, reinterpret_cast<const void*>(kernel), (sizeof(Parameters) + ... + 0));
  if (error != cudaSuccess) return error;
  emulator::queue(config->stream, [launch, kernel, ... copies = std::decay_t<Parameters>(arguments)] {
    emulator::run_grid(launch, [&] { kernel(copies...); });
  });
  return cudaSuccess;
}

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  return emulator::allow_shared_memory(reinterpret_cast<const void*>(kernel), static_cast<size_t>(bytes));
}
template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, size_t) {
  *blocks = 2;
  return cudaSuccess;
}
