// Knowledge distillation: a student learns from a teacher's soft targets (Hinton, Vinyals & Dean, "Distilling
// the Knowledge in a Neural Network", arXiv 1503.02531).
#pragma once

#include <functional>

#include "core/trainer.h"

namespace dw {

/// alpha · T² · KL(softmax(teacher / T) ‖ softmax(student / T)) + (1 − alpha) · cross-entropy(student,
/// labels), the mean over rows; T² keeps the gradients' size whatever the temperature. `student` and
/// `teacher` are logits [n, classes]; `labels` i64 [n], or undefined: then soft targets alone, and `alpha`
/// says nothing. No gradient flows into `teacher`. Errors: shapes that differ, a temperature not above 0,
/// alpha outside [0, 1].
Tensor distillation_loss(const Tensor& student, const Tensor& teacher, const Tensor& labels,
                         double temperature, double alpha);

struct DistillationOptions {
  double temperature = 4;
  double alpha = 0.9;      ///< weight of the soft targets beside the true labels
  bool soft_only = false;  ///< the true labels are not used
};

/// What TrainingPlan::loss takes. `teacher` must outlive it; it is put into evaluation mode and is given the
/// very pictures the student sees.
std::function<Tensor(const Batch&, const Tensor&)> distillation_from(Module& teacher,
                                                                     const DistillationOptions& options);

}  // namespace dw
