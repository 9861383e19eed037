#include "watermark/marked_start.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "watermark/carrier.h"
#include "watermark/reader.h"

namespace dw {

void draw_marked_signs(const Module& network, const Mark& mark, const OwnerKey& key, uint64_t seed) {
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  const std::vector<NamedTensor> parameters = network.parameters();
  for (size_t l = 0; l < mark.layers.size(); ++l) {
    const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const NamedTensor& entry) {
      return entry.name == mark.layers[l].name && entry.tensor.shape() == mark.layers[l].shape;
    });
    require(found != parameters.end(), "the network has no layer {} of the mark's shape",
            mark.layers[l].name);
    std::vector<float> weights = found->tensor.to_vector<float>();
    const double scale = scale_of({mark.layers[l].name, mark.layers[l].shape, weights});
    std::vector<uint32_t> words(weights.size());
    Carrier(key.master, static_cast<uint32_t>(l), mark.layers[l].shape).words(0, words);
    const PhiloxKey draws{seed, 0x7369676e, static_cast<uint32_t>(l)};
    for (size_t i = 0; i < weights.size(); ++i) {
      const float magnitude = std::fabs(weights[i]);
      const double tilt = scale > 0 ? mark.amplitude * std::tanh(magnitude / scale / mark.tau) : 0;
      const int owner =
          sign_of_word(words[i]) * payload[bit_of_word(words[i], static_cast<uint32_t>(mark.bits))];
      const bool follows = uniform_from(philox(draws, i).word[0]) < 0.5 * (1 + tilt);
      weights[i] = static_cast<float>(follows ? owner : -owner) * magnitude;
    }
    found->tensor.copy_from(Tensor::from(weights, mark.layers[l].shape));
  }
}

}  // namespace dw
