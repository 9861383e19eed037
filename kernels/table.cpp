// Where the two backends meet: the only file that knows whether the CUDA half was built.
#include "kernels/table.h"

#include "kernels/cpu/recording.h"
#include "kernels/profile.h"
#include "kernels/profiled_table.h"

namespace dw {

namespace cpu_backend {
KernelTable make_table();

const KernelTable& plain_table() {
  static const KernelTable table = make_table();
  return table;
}
}  // namespace cpu_backend

namespace cuda_backend {
#ifdef DEEPWATER_HAS_CUDA
KernelTable make_table();
int device_count();
std::string absence();
std::string description();
Stream stream_for(int device);
#else
namespace {
KernelTable make_table() {
  return {};
}
int device_count() {
  return 0;
}
std::string absence() {
  return {};
}
std::string description() {
  return {};
}
Stream stream_for(int) {
  return {};
}
}  // namespace
#endif
}  // namespace cuda_backend

namespace {

#ifdef DEEPWATER_HAS_CUDA
constexpr bool cuda_built = true;
#else
constexpr bool cuda_built = false;
#endif

void require_present(Device device) {
  if (device.type == DeviceType::cpu) return;
  const int count = cuda_device_count();
  if (device.index >= 0 && device.index < count) return;
  require(cuda_built, "{} was asked for, but this program was built without its CUDA half",
          to_string(device));
  fail("{} was asked for, but {} usable GPUs were found{}", to_string(device), count,
       count == 0 ? " (" + cuda_backend::absence() + ")" : "");
}

}  // namespace

int cuda_device_count() {
  static const int count = cuda_backend::device_count();
  return count;
}

std::string gpu_description() {
  static const std::string description = cuda_device_count() > 0 ? cuda_backend::description() : "";
  return description;
}

const KernelTable& plain_kernels(Device device) {
  if (device.type == DeviceType::cpu) {
    const KernelTable* recording = cpu_backend::recording_table();
    return recording != nullptr ? *recording : cpu_backend::plain_table();
  }
  require_present(device);
  static const KernelTable table = cuda_backend::make_table();
  return table;
}

const KernelTable& kernels(Device device) {
  const KernelTable& plain = plain_kernels(device);
  return Profile::recording() == nullptr ? plain : profiled_kernels(device.type);
}

Stream current_stream(Device device) {
  if (device.type == DeviceType::cpu) return {};
  require_present(device);
  return cuda_backend::stream_for(device.index);
}

}  // namespace dw
