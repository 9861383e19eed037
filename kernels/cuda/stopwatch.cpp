// Times stretches of a CUDA stream by events, so that timing a kernel does not wait for it.
#include "kernels/stopwatch.h"

#include <utility>

#include "kernels/cuda/check.h"

namespace dw::cuda_backend {
namespace {

class Event {
 public:
  Event() { check_cuda(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }

  /// A failure shows when the time is asked for.
  void record(cudaStream_t queue) const noexcept { static_cast<void>(cudaEventRecord(event_, queue)); }
  /// Waits until `this` has happened.
  double seconds_since(const Event& earlier) const {
    check_cuda(cudaEventSynchronize(event_), "cudaEventSynchronize");
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "cudaEventElapsedTime");
    return milliseconds / 1000.0;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaStopwatch final : public Stopwatch {
 public:
  void start(Stream stream) override {
    queue_ = static_cast<cudaStream_t>(stream.handle);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check_cuda(cudaStreamIsCapturing(queue_, &status), "cudaStreamIsCapturing");
    if (used_ == stretches_.size()) stretches_.emplace_back();
    Stretch& stretch = stretches_[used_++];
    // An event that is captured becomes a node of the graph and has no time of its own.
    stretch.timed = status == cudaStreamCaptureStatusNone;
    if (stretch.timed) stretch.begin.record(queue_);
  }

  void stop() noexcept override {
    const Stretch& stretch = stretches_[used_ - 1];
    if (stretch.timed) stretch.end.record(queue_);
  }

  std::vector<double> laps() override {
    std::vector<double> seconds;
    for (size_t i = 0; i < used_; ++i) {
      const Stretch& stretch = stretches_[i];
      seconds.push_back(stretch.timed ? stretch.end.seconds_since(stretch.begin) : 0);
    }
    used_ = 0;
    return seconds;
  }

 private:
  struct Stretch {
    Event begin, end;
    bool timed = false;
  };
  std::vector<Stretch> stretches_;  // kept: making events costs more than recording them
  size_t used_ = 0;
  cudaStream_t queue_ = nullptr;
};

}  // namespace

std::unique_ptr<Stopwatch> make_stopwatch() {
  return std::make_unique<CudaStopwatch>();
}

}  // namespace dw::cuda_backend
