// The schemes of the registry, one source file each, and what those of others share.
#pragma once

#include "watermark/scheme.h"

namespace dw {

const Scheme& deepwater_scheme();        ///< this project's
const Scheme& uchida_scheme();           ///< Uchida et al. 2017
const Scheme& neural_mark_scheme();      ///< Yao et al. 2025
const Scheme& greedy_residual_scheme();  ///< Liu et al. 2021
const Scheme& trigger_set_scheme();      ///< black box, after Adi et al. 2018

/// The layers that are there. Error: not those of the mark, weights that are not finite, none there.
std::vector<LayerWeights> present_layers(std::span<const LayerWeights> layers, const Mark& mark);

/// For schemes that mark one convolution: the one named, or the last named `stage`*conv2.weight ("block2."),
/// or in networks without such names the one with the most weights. UsageError: more than one named.
NamedTensor one_tensor_to_mark(const Module& network, const std::vector<std::string>& names,
                               std::string_view stage);

/// A parameter of the mark. Error: missing, not a whole number from `least` to `most`.
int64_t whole_parameter(const Mark& mark, const std::string& name, int64_t least, int64_t most);

}  // namespace dw
