// The CPU's stopwatch, and the way to that of CUDA.
#include "kernels/stopwatch.h"

#include <chrono>
#include <utility>

namespace dw {

#ifdef DEEPWATER_HAS_CUDA
namespace cuda_backend {
std::unique_ptr<Stopwatch> make_stopwatch();
}
#endif

namespace {

class CpuStopwatch final : public Stopwatch {
 public:
  void start(Stream) override { started_ = Clock::now(); }
  void stop() noexcept override {
    laps_.push_back(std::chrono::duration<double>(Clock::now() - started_).count());
  }
  std::vector<double> laps() override { return std::exchange(laps_, {}); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point started_;
  std::vector<double> laps_;
};

}  // namespace

std::unique_ptr<Stopwatch> Stopwatch::on(DeviceType type) {
  if (type == DeviceType::cpu) return std::make_unique<CpuStopwatch>();
#ifdef DEEPWATER_HAS_CUDA
  return cuda_backend::make_stopwatch();
#else
  fail("a stopwatch for CUDA was asked for, but this program was built without its CUDA half");
#endif
}

}  // namespace dw
