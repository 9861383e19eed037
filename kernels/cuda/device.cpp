// Memory, copies and streams of CUDA devices: the lowest part of the kernel table.
// Floor of a copy: its bytes over the bus (host) or twice its bytes of device memory traffic.
#include "kernels/cuda/device.h"

#include <deque>
#include <mutex>

#include "kernels/cuda/check.h"
#include "kernels/cuda/shared_library.h"
#include "kernels/table.h"

namespace dw::cuda_backend {
namespace {

cudaStream_t queue_of(Stream stream) {
  return static_cast<cudaStream_t>(stream.handle);
}

void* raw_allocate(int device, size_t bytes) {
  check_cuda(cudaSetDevice(device), "cudaSetDevice");
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    return nullptr;
  }
  check_cuda(status, "cudaMalloc");
  return data;
}

/// Waits for the work that may still use it: cudaFree does not promise to. Called from destructors, also
/// while the process ends and the driver is gone: nothing to do about a failure.
void raw_release(int device, void* data) {
  cudaSetDevice(device);
  cudaDeviceSynchronize();
  cudaFree(data);
  static_cast<void>(cudaGetLastError());
}

/// The driver may read host memory after the call returns, pinned memory always, so wait.
void copy_from_host(Stream stream, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, queue_of(stream)),
             "cudaMemcpyAsync from the host");
  check_cuda(cudaStreamSynchronize(queue_of(stream)), "cudaStreamSynchronize");
}

void copy_to_host(Stream stream, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, queue_of(stream)),
             "cudaMemcpyAsync to the host");
  check_cuda(cudaStreamSynchronize(queue_of(stream)), "cudaStreamSynchronize");
}

void copy_on_device(Stream stream, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, queue_of(stream)),
             "cudaMemcpyAsync on the device");
}

void synchronize(Stream stream) {
  check_cuda(cudaStreamSynchronize(queue_of(stream)), "cudaStreamSynchronize");
}

}  // namespace

int device_count() {
  int count = 0;  // left untouched where the call fails
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

std::string absence() {
  int count = 0;
  const std::string reason = cudaGetErrorString(cudaGetDeviceCount(&count));
  static_cast<void>(cudaGetLastError());
  return reason;
}

std::string description() {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0;
  cudaGetDeviceProperties(&properties, 0);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  static_cast<void>(cudaGetLastError());
  const auto version = [](int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); };
  std::string text = fmt::format("{}, {} processors, driver for CUDA {}, CUDA {}", properties.name,
                                 properties.multiProcessorCount, version(driver), version(runtime));
  if (!cudnn_library().found()) return text + ", no cuDNN";
  const size_t cudnn = cudnnGetVersion();
  return text + fmt::format(", cuDNN {}.{}.{}", cudnn / 10000, cudnn / 100 % 100, cudnn % 100);
}

Stream stream_for(int device) {
  static std::mutex mutex;
  static std::deque<cudaStream_t> streams;
  check_cuda(cudaSetDevice(device), "cudaSetDevice");
  const std::lock_guard lock(mutex);
  const auto index = static_cast<size_t>(device);
  if (streams.size() <= index) streams.resize(index + 1);
  if (!streams[index])
    check_cuda(cudaStreamCreateWithFlags(&streams[index], cudaStreamNonBlocking),
               "cudaStreamCreateWithFlags");
  return {{DeviceType::cuda, device}, streams[index]};
}

void add_device(KernelTable& table) {
  table.raw_allocate = raw_allocate;
  table.raw_release = raw_release;
  table.copy_from_host = copy_from_host;
  table.copy_to_host = copy_to_host;
  table.copy_on_device = copy_on_device;
  table.synchronize = synchronize;
}

}  // namespace dw::cuda_backend
