#include "core/ops.h"
#include "tests/op_cases.h"

namespace dw {
namespace {

using Inputs = std::vector<Tensor>;

Tensor indices(const std::vector<int64_t>& values, Device device) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())}, device);
}

}  // namespace

std::vector<OpCase> reduction_and_matrix_cases() {
  std::vector<OpCase> cases;
  const OpInput image{{2, 3, 5, 4}};
  const std::vector<std::vector<int>> dimension_lists{{}, {0}, {1}, {-1}, {0, 2, 3}, {2, 3}, {0, 1}};
  for (const std::vector<int>& dimensions : dimension_lists) {
    const std::string over = fmt::format(" over [{}]", fmt::join(dimensions, ", "));
    cases.push_back(
        {"sum" + over, {image}, [dimensions](const Inputs& x) { return square(sum(x[0], dimensions)); }});
    cases.push_back({"mean, kept," + over, {image}, [dimensions](const Inputs& x) {
                       return square(mean(x[0], dimensions, true));
                     }});
  }
  for (const int dimension : {0, 1, -1}) {
    const std::string over = fmt::format(" over {}", dimension);
    cases.push_back({"maximum_over" + over, {{{3, 5, 4}, Values::distinct}}, [dimension](const Inputs& x) {
                       return square(maximum_over(x[0], dimension));
                     }});
    cases.push_back({"log_softmax" + over, {{{3, 5, 4}}}, [dimension](const Inputs& x) {
                       return log_softmax(x[0], dimension);
                     }});
    cases.push_back(
        {"softmax" + over, {{{3, 5, 4}}}, [dimension](const Inputs& x) { return softmax(x[0], dimension); }});
    cases.push_back({"concatenate" + over, {{{2, 3, 4}}, {{2, 3, 4}}}, [dimension](const Inputs& x) {
                       return square(concatenate({x[0], x[1], x[0]}, dimension));
                     }});
  }
  for (const auto& [m, k, n] :
       std::vector<std::array<int64_t, 3>>{{3, 4, 5}, {1, 7, 1}, {6, 1, 3}, {5, 9, 2}}) {
    cases.push_back({fmt::format("matmul {}x{}x{}", m, k, n), {{{m, k}}, {{k, n}}}, [](const Inputs& x) {
                       return matmul(x[0], x[1]);
                     }});
    cases.push_back({fmt::format("batched matmul {}x{}x{}", m, k, n),
                     {{{3, m, k}}, {{3, k, n}}},
                     [](const Inputs& x) { return matmul(x[0], x[1]); }});
    cases.push_back({fmt::format("matmul of transposed operands {}x{}x{}", m, k, n),
                     {{{k, m}}, {{n, k}}},
                     [](const Inputs& x) { return matmul(x[0].transpose(0, 1), x[1].transpose(0, 1)); }});
    cases.push_back({fmt::format("linear {}x{}x{}", m, k, n),
                     {{{m, k}}, {{n, k}}, {{n}}},
                     [](const Inputs& x) { return linear(x[0], x[1], x[2]); }});
  }
  cases.push_back({"gather_rows with repeats", {{{5, 3}}}, [](const Inputs& x) {
                     return square(gather_rows(x[0], indices({4, 0, 0, 2}, x[0].device())));
                   }});
  cases.push_back({"gather_rows of images", {{{3, 2, 2, 1}}}, [](const Inputs& x) {
                     return square(gather_rows(x[0], indices({2, 2}, x[0].device())));
                   }});
  return cases;
}

}  // namespace dw
