// The distribution-matching loss of docs/watermark.md, section 3, as slow and obvious float64 sums over
// weights, and a network of bare filters to compare the fused kernel on.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/module.h"
#include "core/random.h"
#include "tests/watermark_ownership_support.h"
#include "watermark/embedder.h"

namespace dw::test {

/// A stem and filters of the given shapes, channels-last in memory as convolutions keep theirs.
class BareFilters : public Module {
 public:
  explicit BareFilters(const std::vector<Shape>& shapes, Device device = cpu) {
    tensors_.reserve(shapes.size() + 1);
    add("stem", {4, 3, 3, 3}, device);
    for (size_t l = 0; l < shapes.size(); ++l) add("layer" + std::to_string(l), shapes[l], device);
  }
  Tensor forward(const Tensor& input) override { return input; }

  /// The marked weights: all but the stem's.
  std::vector<Tensor> marked() const { return {tensors_.begin() + 1, tensors_.end()}; }

 private:
  void add(const std::string& name, const Shape& shape, Device device) {
    tensors_.push_back(Tensor::zeros(shape, DType::f32, device, Layout::channels_last));
    register_parameter(name, tensors_.back());
  }
  std::vector<Tensor> tensors_;
};

/// Every layer as the reference sees it: canonical order, float64.
struct ReferenceLayer {
  std::vector<double> v;  ///< b g w / s
  std::vector<int> sign;  ///< b g
  std::vector<size_t> bit;
  double scale = 0;
};

inline ReferenceLayer reference_layer(const std::vector<float>& weights, const Shape& shape, uint32_t ordinal,
                                      const OwnerKey& key) {
  ReferenceLayer layer;
  double squares = 0, nonzero = 0;
  for (const double w : weights) {
    squares += w * w;
    nonzero += w != 0;
  }
  layer.scale = nonzero > 0 ? std::sqrt(squares / nonzero) : 0;
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  std::vector<uint32_t> words(weights.size());
  Carrier(key.master, ordinal, shape).words(0, words);
  for (size_t i = 0; i < weights.size(); ++i) {
    layer.bit.push_back((uint64_t{words[i] & 0x7fffffffU} * payload.size()) >> 31);
    layer.sign.push_back((words[i] >= 0x80000000U ? -1 : 1) * payload[layer.bit.back()]);
    layer.v.push_back(layer.scale > 0 ? layer.sign.back() * weights[i] / layer.scale : 0);
  }
  return layer;
}

class ReferenceLoss {
 public:
  ReferenceLoss(const std::vector<ReferenceLayer>& layers, const Mark& mark)
      : bits_(static_cast<size_t>(mark.bits)), one_sided_(mark.match.starts_with("skew")) {
    std::vector<double> owned(bits_, 0);
    skew_.assign(bits_, std::vector<double>(knot_count, 0));
    for (const ReferenceLayer& layer : layers) {
      for (size_t i = 0; i < layer.v.size(); ++i) {
        ++owned[layer.bit[i]];
        for (int k = 0; k < knot_count; ++k) {
          const double t = k * knot_step;
          skew_[layer.bit[i]][k] += above(layer.v[i], t) - (1 - above(layer.v[i], -t));
        }
      }
      mean_owned_ += static_cast<double>(layer.v.size()) / mark.bits;
    }
    for (size_t j = 0; j < bits_; ++j) {
      for (double& s : skew_[j]) s /= std::max(owned[j], 1.0);
    }
    owned_ = owned;
    for (int k = 0; k < knot_count; ++k)
      target_.push_back(target_skew(k * knot_step, Density::gaussian(), mark.amplitude, mark.tau));
  }

  double loss() const {
    double sum = 0;
    for (size_t j = 0; j < bits_; ++j) {
      for (int k = 0; k < knot_count; ++k) sum += weight(k) * knot_step * missing(j, k) * missing(j, k);
    }
    return mean_owned_ / static_cast<double>(bits_) * sum;
  }

  /// dL/dv of a weight of bit j, the scale held constant.
  double slope(double v, size_t j) const {
    double sum = 0;
    for (int k = 0; k < knot_count; ++k) {
      const double t = k * knot_step;
      const double skew_slope = (above_slope(v, t) + above_slope(v, -t)) / owned_[j];
      sum -= weight(k) * knot_step * 2 * missing(j, k) * skew_slope;
    }
    return mean_owned_ / static_cast<double>(bits_) * sum;
  }

  /// Mean outward slope of all weights near knot k, by the trapezoid the bins beside it make: what is taken
  /// out of every weight of that magnitude so that the magnitudes stay.
  std::vector<double> drift(const std::vector<ReferenceLayer>& layers) const {
    std::vector<double> means(knot_count + 1, 0);
    for (int k = 1; k < knot_count; ++k) {
      std::vector<double> difference(bits_, 0);
      double weights = 0;
      for (const ReferenceLayer& layer : layers) {
        for (size_t i = 0; i < layer.v.size(); ++i) {
          const double plus = near(layer.v[i], k), minus = near(layer.v[i], -k);
          difference[layer.bit[i]] += plus - minus;
          weights += plus + minus;
        }
      }
      double outward = 0;
      for (size_t j = 0; j < bits_; ++j)
        if (difference[j] != 0) outward += difference[j] * slope(k * knot_step, j);
      means[static_cast<size_t>(k)] = weights > 0 ? outward / weights : 0;
    }
    return means;
  }

 private:
  // A weight's share of the two bins beside a knot, halved; the outermost bins take what lies beyond.
  static double near(double v, int k) {
    const double place = std::clamp(v / knot_step, 0.5 - knot_count, knot_count - 0.5);
    const auto share = [&](double centre) { return std::max(0.0, 1 - std::fabs(place - centre)); };
    return (share(k - 0.5) + share(k + 0.5)) / 2;
  }
  // The soft indicator of v > t: a ramp of one knot step, centred at t.
  static double above(double v, double t) { return std::clamp((v - t) / knot_step + 0.5, 0.0, 1.0); }
  static double above_slope(double v, double t) {
    return v >= t - knot_step / 2 && v < t + knot_step / 2 ? 1 / knot_step : 0;
  }
  static double weight(int knot) { return knot == 0 ? 0.5 : 1; }
  // A bit without weights has nothing to move.
  double missing(size_t j, int k) const {
    if (owned_[j] == 0) return 0;
    const double value = target_[static_cast<size_t>(k)] - skew_[j][static_cast<size_t>(k)];
    return one_sided_ ? std::max(0.0, value) : value;
  }

  size_t bits_;
  bool one_sided_;
  double mean_owned_ = 0;
  std::vector<double> owned_, target_;
  std::vector<std::vector<double>> skew_;
};

/// Whether the gradient jumps within rounding of v: where the ramps of two knots meet.
inline bool at_ramp_end(double v) {
  const double place = std::fabs(v) / knot_step + 0.5;
  return std::fabs(place - std::round(place)) < 1e-4;
}

/// Normal weights of scale 0.05 (l + 1), a few of them pruned and a few far out.
inline void fill_layer(const Tensor& weight, size_t ordinal, uint64_t seed) {
  const double scale = 0.05 * static_cast<double>(ordinal + 1);
  std::vector<float> values =
      random_normal(weight.shape(), {seed, 7, static_cast<uint32_t>(ordinal)}, 0, scale).to_vector<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    if (i % 11 == 3) values[i] = 0;
    if (i % 97 == 5) values[i] = static_cast<float>(scale * (i % 2 == 0 ? 6 : -6));
  }
  weight.copy_from(Tensor::from(values, weight.shape()));
}

/// A strength at which the amplitude is about one half, whatever the sizes.
inline double moderate_strength(const std::vector<Shape>& shapes, int bits) {
  double weights = 0;
  for (const Shape& shape : shapes) weights += static_cast<double>(numel_of(shape));
  return 0.3 * std::sqrt(weights / bits);
}

}  // namespace dw::test
