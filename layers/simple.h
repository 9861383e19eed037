// Layers without parameters.
#pragma once

#include "core/module.h"
#include "core/ops.h"

namespace dw {

class Relu : public Module {
 public:
  Tensor forward(const Tensor& input) override { return relu(input); }
};

class LeakyRelu : public Module {
 public:
  explicit LeakyRelu(double slope = 0.01) : slope_(slope) {}
  Tensor forward(const Tensor& input) override { return leaky_relu(input, slope_); }

 private:
  double slope_;
};

class Tanh : public Module {
 public:
  Tensor forward(const Tensor& input) override { return tanh(input); }
};

class Sigmoid : public Module {
 public:
  Tensor forward(const Tensor& input) override { return sigmoid(input); }
};

class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(const PoolOptions& options) : options_(options) {}
  Tensor forward(const Tensor& input) override { return max_pool2d(input, options_); }

 private:
  PoolOptions options_;
};

class AveragePool2d : public Module {
 public:
  explicit AveragePool2d(const PoolOptions& options) : options_(options) {}
  Tensor forward(const Tensor& input) override { return average_pool2d(input, options_); }

 private:
  PoolOptions options_;
};

/// [n, c, h, w] → [n, c].
class GlobalAveragePool : public Module {
 public:
  Tensor forward(const Tensor& input) override { return global_average_pool(input); }
};

/// [n, ...] → [n, everything else], in row-major (NCHW) order.
class Flatten : public Module {
 public:
  Tensor forward(const Tensor& input) override { return input.reshape({input.size(0), -1}); }
};

/// Zeroes elements with `probability` in training, scaling the rest to keep the expectation.
class Dropout : public Module {
 public:
  explicit Dropout(double probability) : probability_(probability) {}
  Tensor forward(const Tensor& input) override { return training() ? dropout(input, probability_) : input; }

 private:
  double probability_;
};

}  // namespace dw
