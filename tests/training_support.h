// A small problem to train on, and a small network that learns it.
#pragma once

#include <limits>
#include <memory>
#include <vector>

#include "core/batches.h"
#include "core/random.h"
#include "layers/batch_norm.h"
#include "layers/convolution.h"
#include "layers/linear.h"
#include "layers/sequential.h"
#include "layers/simple.h"

namespace dw::test {

// Noise with a bright quarter that tells the class; a function of epoch and batch alone.
class Quarters : public BatchSource {
 public:
  explicit Quarters(uint64_t seed, int64_t batches = 3) : seed_(seed), batches_(batches) {}
  int64_t batches() const override { return batches_; }
  void seek(int64_t epoch, int64_t batch) override {
    epoch_ = epoch;
    batch_ = batch;
  }
  Batch next() override {
    constexpr int64_t n = 8, side = 6;
    const auto step = static_cast<uint32_t>(epoch_ * batches_ + batch_++);
    std::vector<float> pixels = random_normal({n, 1, side, side}, {seed_, 77, step}).to_vector<float>();
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < n; ++i) {
      labels.push_back((i * 7 + step) % 4);
      const int64_t top = labels.back() / 2 * 3, left = labels.back() % 2 * 3;
      for (int64_t p = 0; p < 9; ++p)
        pixels[static_cast<size_t>(((i * side) + top + p / 3) * side + left + p % 3)] += 2;
    }
    if (poison_after >= 0 && epoch_ * batches_ + batch_ > poison_after)
      pixels[0] = std::numeric_limits<float>::quiet_NaN();
    return {Tensor::from(pixels, {n, 1, side, side}), Tensor::from(labels, {n})};
  }
  int64_t poison_after = -1;  // batches from this one on hold a NaN

 private:
  uint64_t seed_;
  int64_t batches_;
  int64_t epoch_ = 0, batch_ = 0;
};

// Everything that a resume must restore: momentum, running statistics, dropout's draws.
inline std::unique_ptr<Sequential> small_network() {
  auto network = std::make_unique<Sequential>();
  network->add(std::make_unique<Conv2d>(1, 4, 3, Conv2d::Options{.padding = 1}), "conv");
  network->add(std::make_unique<BatchNorm2d>(4, BatchNormOptions{.relu = true}), "norm");
  network->add(std::make_unique<Dropout>(0.2), "dropout");
  network->add(std::make_unique<Flatten>(), "flatten");
  network->add(std::make_unique<Linear>(4 * 36, 4), "fc");
  network->initialize(11);
  return network;
}

}  // namespace dw::test
