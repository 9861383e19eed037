#include "watermark/marked_start.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "watermark/carrier.h"
#include "watermark/reader.h"

namespace dw {

void choose_marked_signs(const Module& network, const Mark& mark, const OwnerKey& key) {
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  const auto bits = static_cast<uint32_t>(mark.bits);
  // Owner's signs due but not given yet, less those given too many.
  std::vector<double> due(bits, 0);

  const std::vector<NamedTensor> parameters = network.parameters();
  for (size_t l = 0; l < mark.layers.size(); ++l) {
    const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const NamedTensor& entry) {
      return entry.name == mark.layers[l].name && entry.tensor.shape() == mark.layers[l].shape;
    });
    require(found != parameters.end(), "the network has no layer {} of the mark's shape",
            mark.layers[l].name);
    std::vector<float> weights = found->tensor.to_vector<float>();
    const double scale = scale_of({mark.layers[l].name, mark.layers[l].shape, weights});
    if (scale == 0) continue;
    std::vector<uint32_t> words(weights.size());
    Carrier(key.master, static_cast<uint32_t>(l), mark.layers[l].shape).words(0, words);
    std::vector<uint32_t> order(weights.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(std::fabs(weights[a]), a) > std::pair(std::fabs(weights[b]), b);
    });
    for (const uint32_t i : order) {
      const uint32_t bit = bit_of_word(words[i], bits);
      const float magnitude = std::fabs(weights[i]);
      due[bit] += mark.amplitude * std::tanh(magnitude / scale / mark.tau);
      const int given = due[bit] > 0 ? 1 : -1;
      due[bit] -= given;
      weights[i] = static_cast<float>(given * sign_of_word(words[i]) * payload[bit]) * magnitude;
    }
    found->tensor.copy_from(Tensor::from(weights, mark.layers[l].shape));
  }
}

}  // namespace dw
