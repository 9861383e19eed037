// The emulated GPU's memory, streams, graphs and events. Work runs when somebody waits for it, not when it is
// queued. Memory is out of the host's reach except while work runs, and ends where it ends: a pointer
// followed on the wrong side, or past the end with DEEPWATER_POOL=off, ends the program.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

using Work = std::function<void()>;
using Clock = std::chrono::steady_clock;

struct EmulatedGraph {
  std::shared_ptr<std::vector<Work>> work;
};

struct EmulatedStream {
  std::vector<Work> waiting;
  std::shared_ptr<std::vector<Work>> captured;  // while it captures
  bool spoilt = false;                          // by what a capture must not do
};

struct EmulatedEvent {
  Clock::time_point time;
};

namespace {

constexpr int processors = 3;
constexpr size_t most_argument_bytes = 32764, shared_without_asking = 48 << 10;
constexpr size_t alignment = 16;

std::recursive_mutex mutex;
cudaError_t last_error = cudaSuccess;
std::map<const void*, size_t> shared_allowed;

cudaError_t remembered(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

struct Mapping {
  void* base;
  size_t bytes;
};
std::map<void*, Mapping> mappings;  // by the address that was handed out

EmulatedStream& only_stream() {
  static EmulatedStream stream;
  return stream;
}

// Whether the host reaches the device's memory. Of large pieces, and of very many, it always does: they take
// too long.
void set_within_reach(bool wanted) {
  constexpr size_t most_pieces = 256, most_bytes = 4 << 20;
  static bool within_reach = false;
  wanted = wanted || mappings.size() > most_pieces;
  if (wanted == within_reach) return;
  for (const auto& [address, mapping] : mappings)
    if (mapping.bytes <= most_bytes)
      mprotect(mapping.base, mapping.bytes, wanted ? PROT_READ | PROT_WRITE : PROT_NONE);
  within_reach = wanted;
}

void run_all(EmulatedStream& stream) {
  if (stream.waiting.empty()) return;
  const std::vector<Work> work = std::exchange(stream.waiting, {});
  set_within_reach(true);
  for (const Work& piece : work) piece();
  set_within_reach(false);
}

// Waiting inside a capture spoils it.
cudaError_t wait_for(EmulatedStream& stream) {
  const std::lock_guard lock(mutex);
  if (stream.captured) {
    stream.spoilt = true;
    return remembered(cudaErrorStreamCaptureUnsupported);
  }
  run_all(stream);
  return cudaSuccess;
}

}  // namespace

namespace emulator {

void queue(cudaStream_t stream, Work work) {
  const std::lock_guard lock(mutex);
  (stream->captured ? *stream->captured : stream->waiting).push_back(std::move(work));
}

cudaError_t check_launch(const Launch& launch, const void* kernel, size_t argument_bytes) {
  const std::lock_guard lock(mutex);
  const auto allowed = shared_allowed.find(kernel);
  const size_t shared = allowed != shared_allowed.end() ? allowed->second : shared_without_asking;
  if (argument_bytes > most_argument_bytes || launch.shared_bytes > shared)
    return remembered(cudaErrorInvalidValue);
  if (launch.blocks == 0 || launch.blocks > INT32_MAX || launch.lanes == 0 || launch.lanes > most_lanes)
    return remembered(cudaErrorInvalidConfiguration);
  int blocks_each = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks_each, kernel, 0, 0);
  if (launch.together && launch.blocks > static_cast<unsigned>(processors * blocks_each))
    return remembered(cudaErrorCooperativeLaunchTooLarge);
  return cudaSuccess;
}

cudaError_t allow_shared_memory(const void* kernel, size_t bytes) {
  const std::lock_guard lock(mutex);
  if (bytes > most_shared_bytes) return remembered(cudaErrorInvalidValue);
  shared_allowed[kernel] = bytes;
  return cudaSuccess;
}

}  // namespace emulator

const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess ? "cudaSuccess" : "an error of the emulated GPU";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorCooperativeLaunchTooLarge:
      return "too many blocks in cooperative launch";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
  }
  return "unknown";
}

cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  return remembered(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = processors;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::snprintf(properties->name, sizeof(properties->name), "%s", "emulated GPU");
  properties->multiProcessorCount = processors;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = &only_stream();
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return wait_for(*stream);
}

cudaError_t cudaDeviceSynchronize() {
  return wait_for(only_stream());
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  const std::lock_guard lock(mutex);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t used = (bytes + alignment - 1) / alignment * alignment,
               mapped = (used + page - 1) / page * page;
  constexpr size_t most = size_t{8} << 30;
  void* base = mapped > most
                   ? MAP_FAILED
                   : mmap(nullptr, mapped + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return remembered(cudaErrorMemoryAllocation);
  mprotect(static_cast<char*>(base) + mapped, page, PROT_NONE);
  std::memset(base, 0xff, mapped);  // NaNs
  set_within_reach(true);
  *data = static_cast<char*>(base) + (mapped - used);
  mappings[*data] = {base, mapped};
  set_within_reach(false);
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  const std::lock_guard lock(mutex);
  const auto found = mappings.find(data);
  if (found == mappings.end()) return remembered(cudaErrorInvalidValue);
  munmap(found->second.base, found->second.bytes + static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  mappings.erase(found);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  emulator::queue(stream, [=] { std::memmove(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const std::lock_guard lock(mutex);
  stream->captured = std::make_shared<std::vector<Work>>();
  stream->spoilt = false;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(mutex);
  const auto work = std::exchange(stream->captured, nullptr);
  *graph = nullptr;
  if (stream->spoilt) return remembered(cudaErrorStreamCaptureInvalidated);
  *graph = new EmulatedGraph{work};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream->captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new EmulatedGraph{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  emulator::queue(stream, [work = executable->work] {
    for (const Work& piece : *work) piece();
  });
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new EmulatedEvent{};
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  emulator::queue(stream, [event] { event->time = Clock::now(); });
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return wait_for(only_stream());
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}
