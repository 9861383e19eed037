#include "core/totals.h"

#include "kernels/table.h"

namespace dw {

Totals::Totals(Device device) : sums_(Tensor::zeros({3}, DType::f64, device)) {}

void Totals::add(const Tensor& loss, const Tensor& logits, const Tensor& labels) const {
  const Device device = sums_.device();
  kernels(device).add_score(current_stream(device), loss.view(), logits.view(), labels.view(), sums_.view());
}

Totals::Values Totals::values() const {
  const std::vector<double> sums = sums_.to_vector<double>();
  return {sums[0], sums[1], sums[2]};
}

void Totals::restore(const Values& values) const {
  sums_.copy_from(Tensor::from(std::vector<double>{values.loss, values.correct, values.samples}, {3}));
}

}  // namespace dw
