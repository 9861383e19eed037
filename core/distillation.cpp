#include "core/distillation.h"

#include "core/ops.h"
#include "core/tape.h"

namespace dw {

Tensor distillation_loss(const Tensor& student, const Tensor& teacher, const Tensor& labels,
                         double temperature, double alpha) {
  require(student.rank() == 2 && student.numel() > 0 && teacher.shape() == student.shape(),
          "distillation expects logits [n, classes] of student and teacher, found {} and {}", student.shape(),
          teacher.shape());
  require(temperature > 0, "distillation expects a temperature above 0, found {}", temperature);
  require(alpha >= 0 && alpha <= 1, "distillation expects an alpha in [0, 1], found {}", alpha);
  Tensor target, log_target;
  {
    const NoGrad pause;
    log_target = log_softmax(multiply(teacher.detach(), 1 / temperature), 1);
    target = exp(log_target);
  }
  const Tensor log_guess = log_softmax(multiply(student, 1 / temperature), 1);
  const Tensor divergence = sum(target * (log_target - log_guess));
  const double scale = temperature * temperature / static_cast<double>(student.size(0));
  if (!labels.defined()) return multiply(divergence, scale);
  return add(multiply(divergence, alpha * scale), multiply(cross_entropy(student, labels), 1 - alpha));
}

std::function<Tensor(const Batch&, const Tensor&)> distillation_from(Module& teacher,
                                                                     const DistillationOptions& options) {
  teacher.train(false);
  return [&teacher, options](const Batch& batch, const Tensor& logits) {
    Tensor soft;
    {
      const NoGrad pause;
      soft = teacher(batch.images);
    }
    return distillation_loss(logits, soft, options.soft_only ? Tensor() : batch.labels, options.temperature,
                             options.alpha);
  };
}

}  // namespace dw
