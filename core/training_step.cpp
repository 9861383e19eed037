#include "core/training_step.h"

#include "core/ops.h"
#include "core/random.h"
#include "core/tape.h"
#include "kernels/profile.h"

namespace dw {

TrainingStep::TrainingStep(const StepParts& parts)
    : parts_(parts),
      device_batches_(dynamic_cast<DeviceBatchSource*>(&parts.batches)),
      parameters_(parts.network.parameters()),
      device_(parameters_.at(0).tensor.device()),
      totals_(device_),
      step_(Tensor::zeros({1}, DType::i64, device_)) {
  require(parts.activations == DType::f32 || parts.activations == DType::bf16,
          "a training step computes in f32 or bf16, found {}", name_of(parts.activations));
  if (parts.activations == DType::bf16) mixed_.emplace(parts.network);
  const bool term_can = parts.term == nullptr || parts.term->can_be_captured();
  // A profile times kernels one by one, of which a replayed graph has none.
  parts_.capture = parts.capture && term_can && !Profile::is_active();
}

void TrainingStep::run(int64_t step, double learning_rate) {
  step_.fill(static_cast<double>(step));
  parts_.optimizer.set_learning_rate(learning_rate);
  if (!parts_.capture) {
    compute(parts_.batches.next());
    return;
  }
  Batch batch;
  if (device_batches_ == nullptr) batch = parts_.batches.next();
  const int64_t pictures = device_batches_ != nullptr ? device_batches_->prepare() : batch.labels.size(0);
  if (full_ == 0) full_ = pictures;
  if (pictures == full_) {
    if (device_batches_ == nullptr) hold(std::exchange(batch, {}));
    run_full();
  } else {
    compute(device_batches_ != nullptr ? device_batches_->make() : batch);
    gradients_moved_ = true;
  }
}

// The first steps fill pools and caches; once one needed nothing new of the system, neither will its capture.
void TrainingStep::run_full() {
  if (!graph_ && settled_) capture();
  if (graph_) {
    if (std::exchange(gradients_moved_, false)) put_gradients_back();
    graph_->replay();
    return;
  }
  const size_t reserved = memory_statistics(device_).reserved;
  forget_gradients();
  compute(full_batch());
  settled_ = memory_statistics(device_).reserved == reserved;
}

Batch TrainingStep::full_batch() const {
  return device_batches_ != nullptr ? device_batches_->make() : fixed_;
}

void TrainingStep::hold(const Batch& batch) {
  if (!fixed_.images.defined()) fixed_ = {Tensor::empty_like(batch.images), Tensor::empty_like(batch.labels)};
  fixed_.images.copy_from(batch.images);
  fixed_.labels.copy_from(batch.labels);
}

void TrainingStep::compute(const Batch& batch) {
  const RandomScope randomness(parts_.seed, step_);
  const auto forward_and_backward = [&] {
    Tape tape;
    const Tensor images = mixed_ ? batch.images.to(parts_.activations) : batch.images;
    const Tensor output = parts_.network(images);
    const Tensor logits = mixed_ ? output.to(DType::f32) : output;
    const Tensor loss = parts_.loss ? parts_.loss(batch, logits) : cross_entropy(logits, batch.labels);
    totals_.add(loss, logits, batch.labels);
    tape.backward(loss);
  };
  if (mixed_)
    mixed_->compute(forward_and_backward);
  else
    forward_and_backward();
  if (parts_.term != nullptr) parts_.term->add_gradients();
  parts_.optimizer.step();
}

void TrainingStep::capture() {
  forget_gradients();
  constexpr int most_attempts = 3;
  const auto cannot = [](const Error& error) {
    fail("the training step cannot be captured: {}; --graph off trains without", error.what());
  };
  try {
    graph_ = Graph::capture(device_, [&] { compute(full_batch()); });
  } catch (const FrozenPoolError& error) {
    // Somebody else, as another graph, holds what the last step left in the pool: an eager step asks for
    // more.
    if (++short_of_memory_ >= most_attempts) cannot(error);
    return;
  } catch (const Error& error) {
    cannot(error);
  }
  for (const NamedTensor& parameter : parameters_) gradients_.push_back(parameter.tensor.grad());
  if (parts_.term != nullptr) parts_.term->bind();
  gradients_moved_ = false;
}

// A step gives back last step's gradients when it sets its own: without them an eager step and its capture
// ask for the same memory.
void TrainingStep::forget_gradients() const {
  for (const NamedTensor& parameter : parameters_) parameter.tensor.set_grad({});
}

void TrainingStep::put_gradients_back() const {
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].tensor.set_grad(gradients_[i]);
  if (parts_.term != nullptr) parts_.term->bind();
}

}  // namespace dw
