// Models, pictures and keys of the attacks' tests: small, drawn from seeds.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/ops.h"
#include "core/optimizer.h"
#include "core/random.h"
#include "tests/watermark_ownership_support.h"
#include "watermark/attack.h"
#include "watermark/model.h"

namespace dw::test {

inline std::map<std::string, std::string> metadata_of(const NetworkSpec& spec) {
  return {{"network", spec.name},
          {"classes", std::to_string(spec.classes)},
          {"channels", std::to_string(spec.channels)},
          {"height", std::to_string(spec.height)},
          {"width", std::to_string(spec.width)}};
}

/// Random weights; biases and batch norm's vectors are neither 0 nor 1, so that losing one shows.
inline Model random_model(const NetworkSpec& spec, uint64_t seed) {
  const std::unique_ptr<Module> network = make_network(spec);
  network->initialize(seed);
  Model model = model_of(*network, metadata_of(spec));
  uint32_t draw = 0;
  for (ModelTensor& tensor : model.tensors) {
    if (tensor.shape.size() != 1) continue;
    const bool around_one =
        tensor.name.ends_with("running_var") || tensor.name.find("bn") != std::string::npos;
    const std::vector<float> noise =
        random_normal({tensor.shape[0]}, {seed, 9, draw++}, 0, 0.2).to_vector<float>();
    for (size_t i = 0; i < noise.size(); ++i) {
      tensor.values[i] = around_one && !tensor.name.ends_with("bias") && !tensor.name.ends_with("mean")
                             ? std::fabs(1 + noise[i])
                             : noise[i];
    }
  }
  return model;
}

inline Tensor random_pictures(const NetworkSpec& spec, int64_t count, uint64_t seed) {
  return random_normal({count, spec.channels, spec.height, spec.width}, {seed, 11, 0});
}

inline std::vector<float> logits_of(const Model& model, const Tensor& pictures) {
  const std::unique_ptr<Module> network = network_of(model);
  network->train(false);
  return (*network)(pictures).to_vector<float>();
}

inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    most = std::max(most, static_cast<double>(std::fabs(a[i] - b[i])));
  return most;
}

/// Names of the tensors in which the two differ.
inline std::vector<std::string> changed(const Model& a, const Model& b) {
  std::vector<std::string> names;
  for (const ModelTensor& tensor : a.tensors) {
    const ModelTensor* other = b.find(tensor.name);
    if (other == nullptr || other->shape != tensor.shape || other->values != tensor.values)
      names.push_back(tensor.name);
  }
  return names;
}

/// Noise whose mean brightness says its class; the same batches every epoch.
class DrawnBatches : public BatchSource {
 public:
  DrawnBatches(const NetworkSpec& spec, int64_t batch_size, int64_t batches, uint64_t seed) {
    for (int64_t b = 0; b < batches; ++b) {
      std::vector<float> pixels =
          random_normal({batch_size * spec.channels * spec.height * spec.width}, {seed, 12, uint32_t(b)})
              .to_vector<float>();
      std::vector<int64_t> labels;
      const auto size = static_cast<size_t>(spec.channels * spec.height * spec.width);
      for (int64_t i = 0; i < batch_size; ++i) {
        labels.push_back(i % spec.classes);
        for (size_t p = 0; p < size; ++p)
          pixels[static_cast<size_t>(i) * size + p] += 2 * static_cast<float>(labels.back());
      }
      batches_.push_back({Tensor::from(pixels, {batch_size, spec.channels, spec.height, spec.width}),
                          Tensor::from(labels, {batch_size})});
    }
  }
  int64_t batches() const override { return static_cast<int64_t>(batches_.size()); }
  void seek(int64_t, int64_t batch) override { next_ = static_cast<size_t>(batch); }
  Batch next() override { return batches_.at(next_++ % batches_.size()); }

 private:
  std::vector<Batch> batches_;
  size_t next_ = 0;
};

inline Task drawn_task(const NetworkSpec& spec) {
  return {"drawn", spec.classes,
          [spec](int64_t, uint64_t seed) { return std::make_unique<DrawnBatches>(spec, 16, 4, seed); },
          [spec]() { return std::make_unique<DrawnBatches>(spec, 16, 2, 999); }};
}

inline const NetworkSpec small_wide{"wrn-10-1", 4, 3, 8, 8};
inline const NetworkSpec small_resnet{"resnet-18", 4, 3, 8, 8};
inline const NetworkSpec small_lenet{"lenet-5", 4, 1, 16, 16};

inline Model attacked(const Model& model, const std::string& text, uint64_t seed = 1) {
  AttackContext context;
  context.seed = seed;
  return apply_attacks(parse_attacks(text), {model, nullptr}, context).model;
}

}  // namespace dw::test
