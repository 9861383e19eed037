// Every differentiable operation and layer, declared once: from these cases follow the finite-difference
// gradient check, the comparison of CPU and CUDA, and the check that no operation is left out
// (tests/op_gradients.cpp).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace dw {

/// How an input's values are drawn, so that no finite difference crosses a kink or leaves the domain.
enum class Values : uint8_t {
  normal,
  away_from_zero,  ///< magnitude in [0.2, 1.2]
  positive,        ///< in [0.5, 2]
  distinct,        ///< all at least 0.05 apart, in random order
};

struct OpInput {
  Shape shape;
  Values values = Values::normal;
};

struct OpCase {
  std::string name;  ///< "add: broadcast over rows"
  std::vector<OpInput> inputs;
  std::function<Tensor(const std::vector<Tensor>&)> run;
};

/// All cases, in the dtype and on the device the inputs have (op_cases_*.cpp).
std::vector<OpCase> elementwise_cases();
std::vector<OpCase> reduction_and_matrix_cases();
std::vector<OpCase> network_cases();

}  // namespace dw
