// What the tests of schemes share: a scheme's pull followed until the mark is read, and models as files.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/ops.h"
#include "layers/networks.h"
#include "tests/watermark_ownership_support.h"
#include "watermark/scheme.h"
#include "watermark/verifier.h"

namespace dw::test {

/// How a scheme is tried: a payload and options that suit WRN-10-1, and a step that suits its gradient.
struct SchemeCase {
  std::string scheme;
  std::map<std::string, std::string> options;
  double step;
};

inline const std::vector<SchemeCase>& white_box_cases() {
  static const std::vector<SchemeCase> cases{{"deepwater", {{"strength", "7"}}, 1},
                                             {"deepwater", {{"strength", "7"}, {"match", "full"}}, 1},
                                             {"deepwater", {{"strength", "7"}, {"match", "w2"}}, 1},
                                             {"uchida", {}, 10},
                                             {"uchida", {{"matrix", "direct"}}, 100},
                                             {"uchida", {{"matrix", "diff"}}, 100},
                                             {"neuralmark", {}, 10},
                                             {"greedy-residual", {{"threshold", "0.02"}}, 40}};
  return cases;
}

inline constexpr int scheme_bits = 128;

inline std::string text_of(const SchemeCase& tried) {
  std::string text = tried.scheme;
  for (const auto& [name, value] : tried.options) text += " " + name + "=" + value;
  return text;
}

inline std::vector<Tensor> tensors_of(const Module& network, const Mark& mark) {
  std::vector<Tensor> tensors;
  for (const MarkedLayer& layer : mark.layers)
    for (const NamedTensor& entry : network.parameters())
      if (entry.name == layer.name) tensors.push_back(entry.tensor);
  return tensors;
}

inline Matches read_from(const Module& network, const Mark& mark, const OwnerKey& key) {
  const auto reader = reader_of(model_of(network, {}), mark);
  return matches_of(reader->scores(key.master, payload_of(key.master, key.statement)));
}

/// Follows the scheme's gradient alone.
inline void pull(const Module& network, Embedding& embedding, double step, int steps) {
  const std::vector<Tensor> weights = tensors_of(network, embedding.mark());
  for (int i = 0; i < steps; ++i) {
    for (const Tensor& weight : weights) weight.set_grad(Tensor::zeros_like(weight));
    embedding.term()->add_gradients();
    for (const Tensor& weight : weights) weight.copy_from(weight - multiply(weight.grad(), step));
  }
}

inline Claim claim_of(const OwnerKey& key, const Mark& mark) {
  Claim claim = make_claim(key);
  add_mark(claim, key, mark);
  return claim;
}

}  // namespace dw::test
