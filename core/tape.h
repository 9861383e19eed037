// Reverse-mode differentiation. A Tape is the list of operations since it was made, in the order they ran;
// that order is topological, so `backward` walks it from the end. Nothing is recorded while no tape is
// active: inference needs no switch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace dw {

/// One gradient per input, in order; undefined where `needed[i]` is false. The gradient that comes in has the
/// shape of the output; those that go out have the shapes of the inputs.
using Gradients = std::vector<Tensor>;

/// Which inputs of an operation need a gradient, and what those have received from elsewhere so far.
class Needed {
 public:
  Needed(const std::vector<int>& slots, std::vector<Tensor>& sums) : slots_(slots), sums_(sums) {}
  bool operator[](size_t input) const { return slots_[input] >= 0; }
  /// The sum of the gradients that input `input` has received so far, undefined where there are none. Whoever
  /// takes it adds it to the gradient that it returns, which saves a pass over memory.
  Tensor take_sum(size_t input) const;

 private:
  const std::vector<int>& slots_;  // −1 where no gradient is needed
  std::vector<Tensor>& sums_;      // by slot
};

using Backward = std::function<Gradients(const Tensor& gradient, const Needed& needed)>;

class Tape {
 public:
  enum class Mode { overwrite, accumulate };

  /// Becomes the active tape of this thread until destroyed; tapes nest.
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Writes d(loss)/d(leaf) into grad() of every leaf with requires_grad that `loss` depends on. `loss` has
  /// one element. Consumes the tape: what operations saved is released as the walk passes them.
  void backward(const Tensor& loss, Mode mode = Mode::overwrite);
  /// The same from a given gradient of `output`.
  void backward(const Tensor& output, const Tensor& gradient, Mode mode);

  /// Called by operations: remembers how `output` came from `inputs`. Does nothing when no tape is active or
  /// no input is tracked. `name` is a literal.
  static void record(const char* name, const std::vector<Tensor>& inputs, const Tensor& output,
                     Backward backward);
  /// Whether the active tape would record an operation on this tensor.
  static bool tracks(const Tensor& tensor);

  /// Names of the operations recorded so far, in order.
  std::vector<std::string> operations() const;

 private:
  friend class NoGrad;
  struct Node {
    const char* name;
    std::vector<int> inputs;  // slots, −1 where no gradient is needed
    int output;
    Backward backward;
  };

  int slot_of(const Tensor& tensor) const;
  int slot_for(const Tensor& tensor);

  Tape* previous_;
  uint64_t id_;
  std::vector<Node> nodes_;
  std::vector<Tensor> leaves_;  // by slot; undefined for intermediate results
};

/// While alive, this thread records nothing.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  Tape* paused_;
};

}  // namespace dw
