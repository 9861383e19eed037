#include "watermark/scheme.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/error.h"
#include "watermark/embedder.h"
#include "watermark/schemes/schemes.h"

namespace dw {

std::span<const Scheme* const> schemes() {
  static const std::array<const Scheme*, 5> list{&deepwater_scheme(), &uchida_scheme(), &neural_mark_scheme(),
                                                 &greedy_residual_scheme(), &trigger_set_scheme()};
  return list;
}

const Scheme* find_scheme(std::string_view name) {
  const std::span<const Scheme* const> all = schemes();
  const auto found = std::ranges::find_if(all, [&](const Scheme* scheme) { return scheme->name() == name; });
  return found == all.end() ? nullptr : *found;
}

const Scheme& scheme_named(std::string_view name) {
  if (const Scheme* found = find_scheme(name)) return *found;
  std::vector<std::string> known;
  for (const Scheme* scheme : schemes()) known.push_back(scheme->name());
  throw UsageError(fmt::format("scheme \"{}\" is not known; there are {}", name, fmt::join(known, ", ")));
}

Matches matches_of(std::span<const double> scores) {
  Matches found;
  for (const double score : scores) {
    found.readable += score != 0;
    found.matches += score > 0;
  }
  return found;
}

std::vector<BinomialDraw> MarkReader::read_null(const Strangers& strangers) const {
  require(strangers.count >= 0, "{} null keys, expected 0 or more", strangers.count);
  std::vector<BinomialDraw> draws(strangers.statement == nullptr ? 0 : static_cast<size_t>(strangers.count));
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < draws.size(); ++i) {
    const Secret master = null_master(strangers.seed, i);
    const Matches found = matches_of(scores(master, payload_of(master, *strangers.statement)));
    draws[i] = {found.matches, found.readable};
  }
  return draws;
}

Reading MarkReader::read(const Secret& master, std::span<const int8_t> payload,
                         const Strangers& strangers) const {
  Reading reading;
  reading.scores = scores(master, payload);
  reading.matches = matches_of(reading.scores);
  const auto bits = static_cast<int>(reading.scores.size());
  reading.bit_error_rate = static_cast<double>(bits - reading.matches.matches) / bits;
  reading.strangers = read_null(strangers);
  return reading;
}

std::unique_ptr<MarkReader> reader_of(const Model& model, const Mark& mark) {
  std::vector<LayerWeights> layers;
  bool any = false;
  for (const MarkedLayer& layer : mark.layers) {
    const ModelTensor* found = model.find(layer.name);
    const bool fits = found != nullptr && found->shape == layer.shape;
    layers.push_back({layer.name, layer.shape, fits ? FloatView(found->values) : FloatView()});
    any = any || fits;
  }
  require(any, "none of the {} marked layers of {} is in this model", mark.layers.size(), mark.network);
  return scheme_named(mark.scheme).reader(layers, mark);
}

std::vector<LayerWeights> present_layers(std::span<const LayerWeights> layers, const Mark& mark) {
  require(layers.size() == mark.layers.size(), "the mark has {} layers, found {}", mark.layers.size(),
          layers.size());
  std::vector<LayerWeights> present;
  for (size_t l = 0; l < layers.size(); ++l) {
    const LayerWeights& given = layers[l];
    const MarkedLayer& expected = mark.layers[l];
    if (given.weights.empty()) continue;
    require(given.name == expected.name && given.shape == expected.shape &&
                given.weights.size() == weight_count(expected),
            "marked layer {}: expected '{}' [{}], found '{}' [{}] with {} weights", l, expected.name,
            fmt::join(expected.shape, ", "), given.name, fmt::join(given.shape, ", "), given.weights.size());
    scale_of(given);  // every weight is finite
    present.push_back(given);
  }
  require(!present.empty(), "none of the mark's {} layers is there", mark.layers.size());
  return present;
}

NamedTensor one_tensor_to_mark(const Module& network, const std::vector<std::string>& names,
                               std::string_view stage) {
  const std::vector<NamedTensor> candidates = tensors_to_mark(network, names);
  if (!names.empty()) {
    if (names.size() != 1)
      throw UsageError(fmt::format("this scheme marks one layer, {} are named", names.size()));
    return candidates.front();
  }
  const auto in_stage = [&](const NamedTensor& entry) {
    return entry.name.starts_with(stage) && entry.name.ends_with("conv2.weight");
  };
  const auto found = std::find_if(candidates.rbegin(), candidates.rend(), in_stage);
  if (found != candidates.rend()) return *found;
  return *std::max_element(candidates.begin(), candidates.end(),
                           [](const auto& a, const auto& b) { return a.tensor.numel() < b.tensor.numel(); });
}

int64_t whole_parameter(const Mark& mark, const std::string& name, int64_t least, int64_t most) {
  const auto found = mark.parameters.find(name);
  require(found != mark.parameters.end(), "the mark of scheme {} lacks parameter '{}'", mark.scheme, name);
  const double value = found->second;
  require(
      value >= static_cast<double>(least) && value <= static_cast<double>(most) && value == std::floor(value),
      "the mark of scheme {}: {} is {}, expected a whole number from {} to {}", mark.scheme, name, value,
      least, most);
  return static_cast<int64_t>(value);
}

}  // namespace dw
