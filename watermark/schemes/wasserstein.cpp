#include "watermark/schemes/wasserstein.h"

#include <algorithm>
#include <cmath>

#include "watermark/carrier.h"
#include "watermark/reader.h"
#include "watermark/schemes/host_term.h"

namespace dw {
namespace {

// One weight as its bit sees it.
struct Aligned {
  double v;
  size_t layer, place;
  int sign;
};

class WassersteinTerm : public HostTerm {
 public:
  WassersteinTerm(const std::vector<NamedTensor>& layers, const Mark& mark, const OwnerKey& key,
                  const Density& density, double lambda)
      : HostTerm(layers, lambda), mark_(mark), quantiles_(density, mark.amplitude, mark.tau) {
    const std::vector<int8_t> payload = payload_of(key.master, key.statement);
    for (size_t l = 0; l < layers.size(); ++l) {
      const Tensor& weight = layers[l].tensor;
      std::vector<uint32_t>& words = words_.emplace_back(static_cast<size_t>(weight.numel()));
      Carrier(key.master, static_cast<uint32_t>(l), weight.shape()).words(0, words);
      for (uint32_t& word : words)
        if (payload[bit_of(word)] < 0) word ^= 0x80000000U;
    }
  }

 private:
  double evaluate(std::span<const std::vector<float>> weights,
                  std::span<std::vector<float>> slopes) override {
    std::vector<std::vector<Aligned>> owned(static_cast<size_t>(mark_.bits));
    std::vector<double> scales;
    size_t count = 0;
    for (size_t l = 0; l < weights.size(); ++l) {
      count += weights[l].size();
      scales.push_back(scale_of({mark_.layers[l].name, mark_.layers[l].shape, weights[l]}));
      if (scales[l] == 0) continue;
      for (size_t i = 0; i < weights[l].size(); ++i) {
        const int sign = sign_of_word(words_[l][i]);
        owned[bit_of(words_[l][i])].push_back({sign * weights[l][i] / scales[l], l, i, sign});
      }
    }
    const double mean_owned = static_cast<double>(count) / mark_.bits;
    double loss = 0;
    for (std::vector<Aligned>& bit : owned) {
      std::sort(bit.begin(), bit.end(), [](const Aligned& a, const Aligned& b) { return a.v < b.v; });
      const auto size = static_cast<double>(bit.size());
      for (size_t k = 0; k < bit.size(); ++k) {
        const double away = bit[k].v - quantiles_.at((static_cast<double>(k) + 0.5) / size);
        loss += mean_owned / mark_.bits * away * away / size;
        // T s² dL/dw, with dv/dw = sign / s.
        slopes[bit[k].layer][bit[k].place] +=
            static_cast<float>(2 * mean_owned / size * away * bit[k].sign * scales[bit[k].layer]);
      }
    }
    return loss;
  }

  size_t bit_of(uint32_t word) const { return bit_of_word(word, static_cast<uint32_t>(mark_.bits)); }

  Mark mark_;
  MarkedQuantiles quantiles_;
  std::vector<std::vector<uint32_t>> words_;  // of the carrier, the payload's signs included
};

}  // namespace

MarkedQuantiles::MarkedQuantiles(const Density& density, double amplitude, double tau) {
  constexpr double furthest = 6;
  constexpr int steps = 600;
  // A tilt of no width counts all of the tail.
  constexpr double no_width = 1e-12;
  const auto push = [&](double t, bool negative) {
    const double tail = density.tail_tilt(t, no_width), skew = amplitude * density.tail_tilt(t, tau);
    values_.push_back(negative ? -t : t);
    below_.push_back(negative ? (tail - skew) / 2 : 1 - (tail + skew) / 2);
  };
  for (int i = steps; i > 0; --i) push(i * furthest / steps, true);
  for (int i = 0; i <= steps; ++i) push(i * furthest / steps, false);
}

double MarkedQuantiles::at(double probability) const {
  const auto above = std::upper_bound(below_.begin(), below_.end(), probability);
  if (above == below_.begin()) return values_.front();
  if (above == below_.end()) return values_.back();
  const auto i = static_cast<size_t>(above - below_.begin());
  const double share = (probability - below_[i - 1]) / (below_[i] - below_[i - 1]);
  return values_[i - 1] + share * (values_[i] - values_[i - 1]);
}

std::unique_ptr<GradientTerm> wasserstein_term(const std::vector<NamedTensor>& layers, const Mark& mark,
                                               const OwnerKey& key, const Density& density, double lambda) {
  return std::make_unique<WassersteinTerm>(layers, mark, key, density, lambda);
}

}  // namespace dw
