// Sums of loss and of right answers over an epoch, kept on the device so that a step need not wait for it.
#pragma once

#include "core/tensor.h"

namespace dw {

class Totals {
 public:
  explicit Totals(Device device);

  /// Queues the addition of a batch: `loss` its mean, one element; `logits` [n, classes]; `labels` i64 [n].
  void add(const Tensor& loss, const Tensor& logits, const Tensor& labels) const;

  /// What was added since reset() or restore().
  struct Values {
    double loss = 0, correct = 0, samples = 0;
    double mean_loss() const { return loss / samples; }
    double accuracy() const { return correct / samples; }
  };
  /// Waits for the device.
  Values values() const;
  void reset() const { sums_.fill(0); }
  void restore(const Values& values) const;

 private:
  Tensor sums_;  // f64 [3]
};

}  // namespace dw
