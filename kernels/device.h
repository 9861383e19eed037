// Devices, streams and memory: where a tensor lives and where its kernels run.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/error.h"

namespace dw {

enum class DeviceType : uint8_t { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  auto operator<=>(const Device&) const = default;
};

inline constexpr Device cpu{DeviceType::cpu, 0};

/// "cpu", "cuda:0".
std::string to_string(Device device);

/// "auto" (CUDA where a GPU is present, else the CPU), "cpu", "cuda" or "cuda:N".
/// Errors: UsageError for anything else; Error where the CUDA half is not built or no GPU answers, with the
/// reason.
Device parse_device(std::string_view text);

/// GPUs that can be used: 0 without a driver, without a GPU or where the CUDA half is not built. Never
/// throws.
int cuda_device_count();

/// The first of them with what it is driven by: "NVIDIA H200, 132 processors, driver for CUDA 13.0,
/// CUDA 13.0, cuDNN 9.19.0"; empty where there is none. Never throws.
std::string gpu_description();

/// A queue of work on a device. CPU work is done when the call returns; CUDA work is ordered within its
/// stream. A handle: cheap to copy, does not own the queue.
struct Stream {
  Device device;
  void* handle = nullptr;  ///< cudaStream_t on CUDA
};

/// The stream that this thread's kernels on `device` are queued on.
Stream current_stream(Device device);

/// Waits until everything queued on the device is done, and surfaces its errors.
void synchronize(Device device);

/// Threads that CPU kernels use (OpenMP), 1 or more. 0 restores the default: every core this process may use.
void set_thread_count(int threads);
int thread_count();

/// Device memory from the caching pool of its device, 64-byte aligned (256 on CUDA), uninitialised.
/// Move-only. On CUDA, memory freed may be reused at once by work queued later on the same stream.
class Buffer {
 public:
  Buffer() = default;
  /// Errors: out of memory, naming the request, what is in use and what the device has.
  Buffer(Device device, size_t bytes);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_;
};

/// Copies bytes between any two devices, ordered on the stream of the CUDA side; host memory may be reused on
/// return.
void copy_bytes(Device to, void* destination, Device from, const void* source, size_t bytes);

struct MemoryStatistics {
  size_t in_use = 0;    ///< bytes handed out now
  size_t peak = 0;      ///< most bytes handed out at once since the last reset
  size_t reserved = 0;  ///< bytes held from the system
};
MemoryStatistics memory_statistics(Device device);
void reset_peak_memory(Device device);

/// Returns cached, unused memory to the system.
void release_cached_memory(Device device);

}  // namespace dw
