// Distillation: the loss against its formula and by finite differences, and a student that learns from a
// teacher.
#include "core/distillation.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/ops.h"
#include "core/random.h"
#include "core/tape.h"
#include "layers/linear.h"
#include "tests/devices.h"
#include "tests/watermark_ownership_support.h"

using namespace dw;
using dw::test::contains;
using dw::test::error_of;

namespace {

constexpr int64_t rows = 3, classes = 4;
const std::vector<int64_t> truth{2, 0, 3};

Tensor logits(uint32_t stream) {
  return random_normal({rows, classes}, {5, stream, 0}, 0, 2, DType::f64);
}

// The formula in plain loops.
double reference(const std::vector<double>& student, const std::vector<double>& teacher, bool with_labels,
                 double temperature, double alpha) {
  const auto log_softmax_of = [](const double* row, double t, int64_t c) {
    double total = 0;
    for (int64_t i = 0; i < classes; ++i) total += std::exp(row[i] / t);
    return row[c] / t - std::log(total);
  };
  double soft = 0, hard = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const double* s = student.data() + r * classes;
    const double* t = teacher.data() + r * classes;
    for (int64_t c = 0; c < classes; ++c) {
      const double log_p = log_softmax_of(t, temperature, c);
      soft += std::exp(log_p) * (log_p - log_softmax_of(s, temperature, c));
    }
    hard -= log_softmax_of(s, 1, truth[static_cast<size_t>(r)]);
  }
  soft *= temperature * temperature / rows;
  return with_labels ? alpha * soft + (1 - alpha) * hard / rows : soft;
}

class OneBatch : public BatchSource {
 public:
  int64_t batches() const override { return 1; }
  void seek(int64_t, int64_t) override {}
  Batch next() override { return {random_normal({32, 5}, {9, 0, 0}), Tensor::zeros({32}, DType::i64)}; }
};

}  // namespace

TEST_CASE("distillation: the loss is its formula, with and without labels") {
  const Tensor student = logits(1), teacher = logits(2), labels = Tensor::from(truth, {rows});
  for (const double temperature : {1.0, 4.0}) {
    for (const double alpha : {0.0, 0.3, 1.0}) {
      for (const bool with_labels : {false, true}) {
        const double expected = reference(student.to_vector<double>(), teacher.to_vector<double>(),
                                          with_labels, temperature, alpha);
        const Tensor loss =
            distillation_loss(student, teacher, with_labels ? labels : Tensor(), temperature, alpha);
        CHECK(loss.item() == doctest::Approx(expected).epsilon(1e-12));
      }
    }
  }
  CHECK(distillation_loss(teacher, teacher, Tensor(), 4, 1).item() == doctest::Approx(0).epsilon(1e-12));
}

TEST_CASE("distillation: gradients agree with finite differences, and none reaches the teacher") {
  const Tensor student = logits(1), teacher = logits(2), labels = Tensor::from(truth, {rows});
  student.set_requires_grad(true);
  teacher.set_requires_grad(true);
  for (const bool with_labels : {false, true}) {
    const auto loss_at = [&](const Tensor& at) {
      return distillation_loss(at, teacher, with_labels ? labels : Tensor(), 3, 0.7);
    };
    {
      Tape tape;
      tape.backward(loss_at(student));
    }
    CHECK(!teacher.grad().defined());
    const std::vector<double> gradient = student.grad().to_vector<double>();
    const std::vector<double> values = student.to_vector<double>();
    constexpr double step = 1e-5;
    for (size_t i = 0; i < values.size(); ++i) {
      std::vector<double> up = values, down = values;
      up[i] += step;
      down[i] -= step;
      const double slope = (loss_at(Tensor::from(up, {rows, classes})).item() -
                            loss_at(Tensor::from(down, {rows, classes})).item()) /
                           (2 * step);
      CHECK(gradient[i] == doctest::Approx(slope).epsilon(1e-7));
    }
  }
}

TEST_CASE("distillation: a student follows its teacher, not the labels, with soft targets alone") {
  Linear teacher(5, 3), student(5, 3);
  teacher.initialize(1);
  for (const NamedTensor& parameter : teacher.parameters())
    parameter.tensor.copy_from(multiply(parameter.tensor.detach(), 6));
  student.initialize(2);
  OneBatch batches;
  Sgd optimizer(student.parameters(), {.weight_decay = 0});
  TrainingPlan plan;
  plan.epochs = 200;
  plan.learning_rate = 0.5;
  plan.loss = distillation_from(teacher, {.temperature = 2, .soft_only = true});
  train(student, optimizer, batches, nullptr, nullptr, plan, {});
  CHECK(!teacher.training());
  const Tensor images = batches.next().images;
  const std::vector<int64_t> taught = argmax(teacher(images)).to_vector<int64_t>();
  const std::vector<int64_t> learnt = argmax(student(images)).to_vector<int64_t>();
  size_t same = 0, zeros = 0;
  for (size_t i = 0; i < taught.size(); ++i) {
    same += taught[i] == learnt[i];
    zeros += taught[i] == 0;
  }
  CHECK(same >= 31);
  CHECK(zeros < 24);  // the labels say 0 always
}

TEST_CASE("distillation: what does not fit is refused") {
  const Tensor student = logits(1), teacher = logits(2);
  CHECK(contains(error_of([&] {
                   distillation_loss(student, teacher.reshape({classes, rows}), {}, 4, 1);
                 }),
                 "found [3, 4] and [4, 3]"));
  CHECK(contains(error_of([&] { distillation_loss(student, teacher, {}, 0, 1); }), "temperature"));
  CHECK(contains(error_of([&] { distillation_loss(student, teacher, {}, 4, 1.5); }), "alpha"));
}
