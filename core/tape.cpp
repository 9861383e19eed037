#include "core/tape.h"

#include <atomic>
#include <utility>

#include "core/ops.h"
#include "core/tensor_impl.h"
#include "kernels/table.h"

namespace dw {
namespace {

thread_local Tape* active = nullptr;
std::atomic<uint64_t> tapes_made{0};

void accumulate(Tensor& sum, Tensor gradient) {
  if (sum.defined()) {
    sum = add(sum, gradient);
  } else {
    sum = std::move(gradient);
  }
}

}  // namespace

Tensor Needed::take_sum(size_t input) const {
  return (*this)[input] ? std::exchange(sums_[static_cast<size_t>(slots_[input])], Tensor()) : Tensor();
}

Tape::Tape() : previous_(active), id_(++tapes_made) {
  active = this;
}
Tape::~Tape() {
  active = previous_;
}

int Tape::slot_of(const Tensor& tensor) const {
  return tensor.impl_->tape == id_ ? tensor.impl_->slot : -1;
}

int Tape::slot_for(const Tensor& tensor) {
  if (const int slot = slot_of(tensor); slot >= 0) return slot;
  const int slot = static_cast<int>(leaves_.size());
  tensor.impl_->tape = id_;
  tensor.impl_->slot = slot;
  leaves_.push_back(tensor.requires_grad() ? tensor : Tensor());
  return slot;
}

bool Tape::tracks(const Tensor& tensor) {
  return active != nullptr && (tensor.requires_grad() || active->slot_of(tensor) >= 0);
}

void Tape::record(const char* name, const std::vector<Tensor>& inputs, const Tensor& output,
                  Backward backward) {
  if (active == nullptr) return;
  Node node{name, {}, -1, std::move(backward)};
  bool any = false;
  for (const Tensor& input : inputs) {
    const bool tracked = tracks(input);
    node.inputs.push_back(tracked ? active->slot_for(input) : -1);
    any = any || tracked;
  }
  if (!any) return;
  node.output = active->slot_for(output);
  active->nodes_.push_back(std::move(node));
}

std::vector<std::string> Tape::operations() const {
  std::vector<std::string> names;
  for (const Node& node : nodes_) names.emplace_back(node.name);
  return names;
}

void Tape::backward(const Tensor& loss, Mode mode) {
  require(loss.numel() == 1, "backward expects a loss with one element, found shape {}", loss.shape());
  backward(loss, Tensor::full(loss.shape(), 1.0, loss.dtype(), loss.device()), mode);
}

void Tape::backward(const Tensor& output, const Tensor& gradient, Mode mode) {
  const NoGrad pause;
  const int start = slot_of(output);
  require(start >= 0,
          "backward: the output does not depend on any tensor that requires a gradient on this tape");
  require(gradient.shape() == output.shape(), "backward expects a gradient of shape {}, found {}",
          output.shape(), gradient.shape());
  std::vector<Tensor> gradients(leaves_.size());
  gradients[static_cast<size_t>(start)] = gradient;
  while (!nodes_.empty()) {
    const Node node = std::move(nodes_.back());
    nodes_.pop_back();
    const Tensor arriving = std::move(gradients[static_cast<size_t>(node.output)]);
    gradients[static_cast<size_t>(node.output)] = Tensor();
    if (!arriving.defined()) continue;
    const Needed needed(node.inputs, gradients);
    Gradients leaving = node.backward(arriving, needed);
    require(leaving.size() == node.inputs.size(), "backward of {} gave {} gradients for {} inputs", node.name,
            leaving.size(), node.inputs.size());
    for (size_t i = 0; i < leaving.size(); ++i) {
      if (needed[i]) accumulate(gradients[static_cast<size_t>(node.inputs[i])], std::move(leaving[i]));
    }
  }
  for (size_t slot = 0; slot < leaves_.size(); ++slot) {
    const Tensor& leaf = leaves_[slot];
    Tensor& found = gradients[slot];
    if (!leaf.defined() || !found.defined()) continue;
    if (mode == Mode::accumulate && leaf.grad().defined()) found = add(leaf.grad(), found);
    // Optimizers walk memory: a gradient lies in memory as its parameter does.
    leaf.set_grad(found.contiguous(leaf.layout()));
  }
  leaves_.clear();
}

NoGrad::NoGrad() : paused_(active) {
  active = nullptr;
}
NoGrad::~NoGrad() {
  active = paused_;
}

}  // namespace dw
