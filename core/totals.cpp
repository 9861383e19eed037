#include "core/totals.h"

#include "core/ops.h"
#include "core/tape.h"

namespace dw {

Totals::Totals(Device device) : sums_(Tensor::zeros({3}, DType::f64, device)) {}

void Totals::add(const Tensor& loss, const Tensor& logits, const Tensor& labels) const {
  const NoGrad pause;
  const auto count = static_cast<double>(labels.size(0));
  const Tensor total_loss = multiply(loss.detach().to(DType::f64), count).reshape({1});
  const Tensor correct = sum(equal(argmax(logits), labels).to(DType::f64)).reshape({1});
  const Tensor samples = Tensor::full({1}, count, DType::f64, sums_.device());
  // In place, so that a captured step goes on adding to the same memory.
  sums_.copy_from(dw::add(sums_, concatenate({total_loss, correct, samples}, 0)));
}

Totals::Values Totals::values() const {
  const std::vector<double> sums = sums_.to_vector<double>();
  return {sums[0], sums[1], sums[2]};
}

void Totals::restore(const Values& values) const {
  sums_.copy_from(Tensor::from(std::vector<double>{values.loss, values.correct, values.samples}, {3}));
}

}  // namespace dw
