// Weights made coarser, noisy or shifted.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/random.h"
#include "watermark/attacks/kinds.h"

namespace dw {
namespace {

// Rounds to the levels that `bits` bits can name and back. Symmetric levels are whole multiples of one step
// and include zero; affine ones divide the range from the least to the greatest value.
void quantise(std::span<float> values, int bits, bool symmetric) {
  const auto [least, greatest] = std::ranges::minmax(values);
  const double steps = symmetric ? std::ldexp(1, bits - 1) - 1 : std::ldexp(1, bits) - 1;
  const double low = symmetric ? 0 : least;
  const double range = symmetric ? std::max(std::fabs(least), std::fabs(greatest)) : double{greatest} - least;
  if (!(range > 0)) return;
  const double step = range / steps;
  for (float& value : values) value = static_cast<float>(low + std::nearbyint((value - low) / step) * step);
}

AttackAction make_quantise(const AttackArguments& arguments) {
  const int bits = static_cast<int>(arguments.integer("bits", 2, 16));
  const bool symmetric = arguments.text("mode") == "symmetric";
  const bool by_channel = arguments.text("per") == "channel";
  return weights_only([=](Model& model, const AttackContext&) {
    for (ModelTensor& tensor : model.tensors) {
      if (!is_weight(tensor)) continue;
      const size_t parts = by_channel ? static_cast<size_t>(tensor.shape[0]) : 1;
      const size_t size = tensor.values.size() / parts;
      for (size_t part = 0; part < parts; ++part)
        quantise(std::span(tensor.values).subspan(part * size, size), bits, symmetric);
    }
  });
}

double deviation_of(std::span<const float> values) {
  double sum = 0, squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(values.size());
  return std::sqrt(std::max(0.0, squares / count - sum / count * (sum / count)));
}

void add_noise(ModelTensor& tensor, double deviation, const PhiloxKey& key) {
  const std::vector<float> noise =
      random_normal({static_cast<int64_t>(tensor.values.size())}, key, 0, deviation).to_vector<float>();
  for (size_t i = 0; i < noise.size(); ++i) tensor.values[i] += noise[i];
}

AttackAction make_noise(const AttackArguments& arguments) {
  const double sigma = arguments.number("sigma", 0, 1000);
  return weights_only([=](Model& model, const AttackContext& context) {
    uint32_t draw = 0;
    for (ModelTensor& tensor : model.tensors)
      if (is_weight(tensor))
        add_noise(tensor, sigma * deviation_of(tensor.values), attack_draw(context, draw++));
  });
}

// Every filter loses alpha times the mean filter: what a mark in that mean is read from changes its sign.
AttackAction make_shift(const AttackArguments& arguments) {
  const double alpha = arguments.number("alpha", -100, 100);
  const double noise = arguments.number("noise", 0, 100);
  return weights_only([=](Model& model, const AttackContext& context) {
    uint32_t draw = 0;
    for (ModelTensor& tensor : model.tensors) {
      if (tensor.shape.size() != 4 || tensor.values.empty()) continue;
      const double deviation = deviation_of(tensor.values);
      const auto filters = static_cast<size_t>(tensor.shape[0]);
      const size_t size = tensor.values.size() / filters;
      for (size_t i = 0; i < size; ++i) {
        double sum = 0;
        for (size_t f = 0; f < filters; ++f) sum += tensor.values[f * size + i];
        const auto shift = static_cast<float>(alpha * sum / static_cast<double>(filters));
        for (size_t f = 0; f < filters; ++f) tensor.values[f * size + i] -= shift;
      }
      if (noise > 0) add_noise(tensor, noise * deviation, attack_draw(context, draw++));
    }
  });
}

}  // namespace

std::span<const AttackDefinition> weight_attacks() {
  static const std::array<AttackDefinition, 3> list{{
      {"quantise",
       "weights rounded to as many levels as the bits name",
       {{"bits", "4"}, {"mode", "symmetric", "symmetric|affine"}, {"per", "tensor", "tensor|channel"}},
       make_quantise},
      {"noise", "normal noise, in units of each layer's standard deviation", {{"sigma", "1"}}, make_noise},
      {"shift",
       "every filter of a convolution loses alpha times their mean; noise in standard deviations",
       {{"alpha", "1.5"}, {"noise", "0.1"}},
       make_shift},
  }};
  return list;
}

}  // namespace dw
