// Devices, buffers and copies on top of the kernel tables; see device.h.
#include "kernels/device.h"

#include <omp.h>

#include <charconv>
#include <utility>

#include "kernels/memory_pool.h"
#include "kernels/table.h"

namespace dw {

std::string to_string(Device device) {
  return device.type == DeviceType::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return cpu;
  if (text == "auto") return cuda_device_count() > 0 ? Device{DeviceType::cuda, 0} : cpu;
  Device device{DeviceType::cuda, 0};
  constexpr std::string_view prefix = "cuda:";
  if (text != "cuda") {
    const char* end = text.data() + text.size();
    bool valid = text.starts_with(prefix);
    if (valid) {
      const auto [stopped, error] = std::from_chars(text.data() + prefix.size(), end, device.index);
      valid = error == std::errc{} && stopped == end && device.index >= 0;
    }
    if (!valid)
      throw UsageError(fmt::format("expected a device auto, cpu, cuda or cuda:N, found \"{}\"", text));
  }
  static_cast<void>(kernels(device));  // an Error where it is absent
  return device;
}

void synchronize(Device device) {
  kernels(device).synchronize(current_stream(device));
}

void set_thread_count(int threads) {
  omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
}

int thread_count() {
  return omp_get_max_threads();
}

Buffer::Buffer(Device device, size_t bytes) : bytes_(bytes), device_(device) {
  if (bytes > 0) data_ = memory_pool(device).allocate(bytes);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      device_(other.device_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  Buffer taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(bytes_, taken.bytes_);
  std::swap(device_, taken.device_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) memory_pool(device_).release(data_);
}

void copy_bytes(Device to, void* destination, Device from, const void* source, size_t bytes) {
  if (bytes == 0) return;
  const bool to_cpu = to.type == DeviceType::cpu, from_cpu = from.type == DeviceType::cpu;
  if (to_cpu && !from_cpu) {
    kernels(from).copy_to_host(current_stream(from), destination, source, bytes);
  } else if (from_cpu && !to_cpu) {
    kernels(to).copy_from_host(current_stream(to), destination, source, bytes);
  } else {
    if (to != from) synchronize(from);
    kernels(to).copy_on_device(current_stream(to), destination, source, bytes);
    if (to != from) synchronize(to);  // or the source's own queue could write to it again first
  }
}

MemoryStatistics memory_statistics(Device device) {
  return memory_pool(device).statistics();
}

void reset_peak_memory(Device device) {
  memory_pool(device).reset_peak();
}

void release_cached_memory(Device device) {
  synchronize(device);
  memory_pool(device).release_cached();
}

}  // namespace dw
