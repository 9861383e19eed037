#include "core/ops.h"
#include "tests/op_cases.h"

namespace dw {
namespace {

using Inputs = std::vector<Tensor>;
using Unary = Tensor (*)(const Tensor&);
using Binary = Tensor (*)(const Tensor&, const Tensor&);

void add_unary(std::vector<OpCase>& cases, const std::string& name, Unary op, Values values) {
  for (const Shape& shape : {Shape{7}, Shape{3, 5}, Shape{1, 4, 3, 2}, Shape{}})
    cases.push_back(
        {name + " of " + to_string(shape), {{shape, values}}, [op](const Inputs& x) { return op(x[0]); }});
}

void add_binary(std::vector<OpCase>& cases, const std::string& name, Binary op, Values a, Values b) {
  const std::vector<std::pair<Shape, Shape>> shapes{{{4, 3}, {4, 3}}, {{5, 3}, {3}},
                                                    {{5, 1}, {1, 4}}, {{2, 3, 4, 5}, {1, 3, 1, 1}},
                                                    {{}, {2, 3}},     {{1, 7}, {1, 7}}};
  for (const auto& [left, right] : shapes)
    cases.push_back({fmt::format("{} of {} and {}", name, to_string(left), to_string(right)),
                     {{left, a}, {right, b}},
                     [op](const Inputs& x) { return op(x[0], x[1]); }});
}

}  // namespace

std::vector<OpCase> elementwise_cases() {
  std::vector<OpCase> cases;
  add_unary(cases, "negate", negate, Values::normal);
  add_unary(cases, "absolute", absolute, Values::away_from_zero);
  add_unary(cases, "square", square, Values::normal);
  add_unary(cases, "sqrt", dw::sqrt, Values::positive);
  add_unary(cases, "exp", dw::exp, Values::normal);
  add_unary(cases, "log", dw::log, Values::positive);
  add_unary(cases, "tanh", dw::tanh, Values::normal);
  add_unary(cases, "sigmoid", sigmoid, Values::normal);
  add_unary(cases, "relu", relu, Values::away_from_zero);
  add_unary(
      cases, "leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0.1); }, Values::away_from_zero);
  add_unary(
      cases, "add_scalar", [](const Tensor& x) { return add(x, 1.5); }, Values::normal);
  add_unary(
      cases, "multiply_scalar", [](const Tensor& x) { return multiply(x, -2.5); }, Values::normal);
  add_unary(
      cases, "power", [](const Tensor& x) { return power(x, 1.7); }, Values::positive);

  add_binary(cases, "add", add, Values::normal, Values::normal);
  add_binary(cases, "subtract", subtract, Values::normal, Values::normal);
  add_binary(cases, "multiply", multiply, Values::normal, Values::normal);
  add_binary(cases, "divide", divide, Values::normal, Values::positive);
  // A finite difference must not change which of the two wins.
  add_binary(
      cases, "maximum", [](const Tensor& a, const Tensor& b) { return maximum(a, multiply(b, 4)); },
      Values::distinct, Values::away_from_zero);
  add_binary(
      cases, "minimum", [](const Tensor& a, const Tensor& b) { return minimum(a, multiply(b, 4)); },
      Values::distinct, Values::away_from_zero);
  add_binary(
      cases, "where",
      [](const Tensor& a, const Tensor& b) {
        return where(greater(a.detach(), Tensor::zeros({}, a.dtype(), a.device())), a, b);
      },
      Values::away_from_zero, Values::normal);

  const OpInput image{{2, 3, 4, 5}};
  cases.push_back({"reshape", {image}, [](const Inputs& x) { return square(x[0].reshape({6, -1})); }});
  cases.push_back({"reshape of a transposed view", {image}, [](const Inputs& x) {
                     return square(x[0].transpose(1, 3).reshape({2, -1}));
                   }});
  cases.push_back({"permute", {image}, [](const Inputs& x) { return square(x[0].permute({2, 0, 3, 1})); }});
  cases.push_back({"slice", {image}, [](const Inputs& x) { return square(x[0].slice(2, 1, 4, 2)); }});
  cases.push_back({"slice of a slice", {image}, [](const Inputs& x) {
                     return square(x[0].slice(3, 1, 5).slice(1, 0, 3, 2));
                   }});
  cases.push_back({"expand", {{{3, 1, 2}}}, [](const Inputs& x) {
                     return square(x[0].expand({2, 3, 4, 2}));
                   }});
  cases.push_back({"contiguous", {image}, [](const Inputs& x) {
                     return square(x[0].contiguous(Layout::channels_last).contiguous());
                   }});
  cases.push_back({"clone", {image}, [](const Inputs& x) { return square(x[0].clone()); }});
  cases.push_back({"to", {{{3, 4}}}, [](const Inputs& x) {
                     // There and back, at the higher precision of the two where the check is sharp.
                     const DType other = x[0].dtype() == DType::f64 ? DType::f32 : DType::f64;
                     return x[0].dtype() == DType::f64 ? square(x[0]).to(DType::f64)
                                                       : square(x[0].to(other)).to(DType::f32);
                   }});
  cases.push_back(
      {"an input used twice", {{{3, 4}}}, [](const Inputs& x) { return x[0] * x[0] + exp(x[0]); }});
  return cases;
}

}  // namespace dw
