// The drawn data set: the same bits everywhere, balanced, and out of reach of a linear classifier.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "datasets/loader.h"
#include "kernels/device.h"
#include "tests/datasets_support.h"

namespace dw::datasets_test {
namespace {

std::vector<float> normalised(const ImageSet& set, const ChannelStatistics& statistics) {
  std::vector<float> values(set.pixels.size());
  for (size_t i = 0; i < values.size(); ++i)
    values[i] =
        (static_cast<float>(set.pixels[i]) / 255 - statistics.mean[i % 3]) / statistics.deviation[i % 3];
  return values;
}

/// Multinomial logistic regression on pixels by stochastic gradient descent.
class SoftmaxRegression {
 public:
  SoftmaxRegression(size_t inputs, size_t classes)
      : inputs_(inputs), weights_(classes, std::vector<float>(inputs)) {}

  std::vector<float> scores(std::span<const float> x) const {
    std::vector<float> result;
    for (const auto& row : weights_) {
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (size_t i = 0; i < inputs_; ++i) sum += row[i] * x[i];
      result.push_back(sum);
    }
    return result;
  }
  void step(std::span<const float> x, size_t label, float rate) {
    auto p = scores(x);
    const float most = std::ranges::max(p);
    float total = 0;
    for (float& value : p) total += value = std::exp(value - most);
    for (size_t k = 0; k < p.size(); ++k) {
      const float change = rate * (p[k] / total - static_cast<float>(k == label));
      for (size_t i = 0; i < inputs_; ++i) weights_[k][i] -= change * x[i];
    }
  }
  double accuracy(const ImageSet& set, const std::vector<float>& values) const {
    int64_t right = 0;
    for (int64_t i = 0; i < set.size(); ++i) {
      const auto p = scores(std::span(values).subspan(static_cast<size_t>(i) * inputs_, inputs_));
      right += std::ranges::max_element(p) - p.begin() == set.labels[static_cast<size_t>(i)];
    }
    return static_cast<double>(right) / static_cast<double>(set.size());
  }

 private:
  size_t inputs_;
  std::vector<std::vector<float>> weights_;
};

TEST_CASE("datasets: the synthetic set is the same bits on every machine and for every thread count") {
  const std::string spec = "synthetic:train=200,test=100,seed=1";
  const Dataset data = load_dataset(spec);
  CHECK(data.digest == "09da26ad424ecd14");
  set_thread_count(1);
  CHECK(load_dataset(spec).digest == data.digest);
  set_thread_count(0);
  CHECK(load_dataset("synthetic:train=200,test=100,seed=2").digest != data.digest);
  const Dataset fewer = load_dataset("synthetic:train=100,test=100,seed=1");
  CHECK(
      std::ranges::equal(fewer.train.pixels, std::span(data.train.pixels).first(fewer.train.pixels.size())));
  CHECK(fewer.test.pixels == data.test.pixels);
  CHECK_FALSE(std::ranges::equal(data.train.held_image(0), data.test.held_image(0)));
}

TEST_CASE("datasets: the synthetic set has ten balanced classes of 32 x 32 RGB, 8,000 and 2,000 by default") {
  const Dataset data = load_dataset("synthetic");
  CHECK(data.train.size() == 8000);
  CHECK(data.test.size() == 2000);
  CHECK(data.train.classes.size() == 10);
  for (int64_t label = 0; label < 10; ++label) CHECK(std::ranges::count(data.train.labels, label) == 800);
  CHECK(data.train.image_bytes() == 3072);
}

TEST_CASE("datasets: a linear classifier stays below 60 % on the synthetic set") {
  const Dataset data = load_dataset("synthetic:train=4000,test=1000");
  const auto train = normalised(data.train, data.statistics), test = normalised(data.test, data.statistics);
  constexpr size_t inputs = 3072;
  SoftmaxRegression model(inputs, 10);
  constexpr int epochs = 8;
  for (int epoch = 0; epoch < epochs; ++epoch)
    for (const int64_t i : epoch_order(data.train.size(), 3, epoch))
      model.step(std::span(train).subspan(static_cast<size_t>(i) * inputs, inputs),
                 static_cast<size_t>(data.train.labels[static_cast<size_t>(i)]),
                 3e-4F / static_cast<float>(epoch + 1));
  const double train_accuracy = model.accuracy(data.train, train), accuracy = model.accuracy(data.test, test);
  CAPTURE(train_accuracy);
  CAPTURE(accuracy);
  CHECK(train_accuracy > 0.3);  // it did learn what can be learnt linearly
  CHECK(accuracy < 0.6);
}

}  // namespace
}  // namespace dw::datasets_test
