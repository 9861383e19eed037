// Devices, buffers, copies and the number of threads.
#include <utility>

#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

TEST_CASE("devices: names are parsed and printed, and nonsense is a usage error") {
  CHECK(parse_device("cpu") == cpu);
  CHECK(to_string(cpu) == "cpu");
  CHECK(to_string({DeviceType::cuda, 3}) == "cuda:3");
  for (const char* text : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999", "CPU"})
    CHECK_THROWS_AS(parse_device(text), UsageError);
  if (cuda_device_count() > 0) {
    CHECK(parse_device("auto") == Device{DeviceType::cuda, 0});
    CHECK(parse_device("cuda") == parse_device("cuda:0"));
  } else {
    CHECK(parse_device("auto") == cpu);
    CHECK_THROWS_AS(parse_device("cuda"), Error);
  }
  CHECK_THROWS_AS(parse_device("cuda:1000"), Error);
}

TEST_CASE("devices: buffers are aligned, counted, moved and given back") {
  for_each_device([](Device device) {
    const size_t before = memory_statistics(device).in_use;
    {
      Buffer buffer(device, 100);
      CHECK(reinterpret_cast<uintptr_t>(buffer.data()) % (device.type == DeviceType::cpu ? 64 : 256) == 0);
      CHECK(buffer.bytes() == 100);
      CHECK(memory_statistics(device).in_use > before);
      void* data = buffer.data();
      Buffer moved(std::move(buffer));
      CHECK(moved.data() == data);
      CHECK(buffer.data() == nullptr);  // NOLINT(bugprone-use-after-move)
      Buffer target(device, 5000);
      const size_t both = memory_statistics(device).in_use;
      target = std::move(moved);
      CHECK(target.data() == data);
      CHECK(memory_statistics(device).in_use < both);
      const Buffer empty(device, 0);
      CHECK(empty.data() == nullptr);
    }
    CHECK(memory_statistics(device).in_use == before);
    CHECK(memory_statistics(device).peak >= before);
    CHECK_THROWS_AS(Buffer(device, size_t{1} << 55), Error);
    release_cached_memory(device);
  });
}

TEST_CASE("devices: bytes survive a trip through every device") {
  for_each_device([](Device device) {
    const std::vector<double> values = some_values(70001, -1, 1);
    const size_t bytes = values.size() * sizeof(double);
    const Buffer a(device, bytes), b(device, bytes);
    std::vector<double> back(values.size());
    copy_bytes(device, a.data(), cpu, values.data(), bytes);
    copy_bytes(device, b.data(), device, a.data(), bytes);
    copy_bytes(cpu, back.data(), device, b.data(), bytes);
    CHECK(back == values);
    copy_bytes(device, nullptr, cpu, nullptr, 0);
    synchronize(device);
  });
}

TEST_CASE("devices: the number of threads is set and restored") {
  set_thread_count(1);
  CHECK(thread_count() == 1);
  set_thread_count(3);
  CHECK(thread_count() == 3);
  set_thread_count(0);
  CHECK(thread_count() >= 1);
}

}  // namespace
}  // namespace dw
