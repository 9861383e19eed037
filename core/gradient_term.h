// Something besides the task loss that pulls on the parameters: the watermark.
#pragma once

namespace dw {

class GradientTerm {
 public:
  GradientTerm() = default;
  GradientTerm(const GradientTerm&) = delete;
  GradientTerm& operator=(const GradientTerm&) = delete;
  virtual ~GradientTerm() = default;
  /// Adds to grad() of the parameters; called after backward and before the optimizer.
  virtual void add_gradients() = 0;
  /// The loss at the last add_gradients(); waits for the device.
  virtual double loss() = 0;

  /// Whether add_gradients() only queues work, so that it may be part of a captured step.
  virtual bool can_be_captured() const { return false; }
  /// Called between the capture of add_gradients() and its first replay, and again whenever grad() of a
  /// parameter was replaced and put back: what add_gradients() would copy from the host is copied now.
  virtual void bind() {}
};

}  // namespace dw
