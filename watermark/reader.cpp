#include "watermark/reader.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "kernels/error.h"
#include "watermark/carrier.h"
#include "watermark/target.h"

namespace dw {
namespace {

constexpr size_t chunk_size = 1 << 16;  // weights in memory at a time
constexpr size_t block_size = 4096;     // weights whose carrier is in memory at a time
/// Networks up to this size are weighed once for all keys, larger ones at every reading.
constexpr size_t most_weighed_once = 1 << 22;
/// Scores of null keys in memory at a time; more keys take another pass over the weights.
constexpr size_t most_null_scores = 1 << 23;

/// Adds each weight's signed evidence to the bit that owns it, in order. Bits and signs are taken from a
/// short run of words first, because that loop vectorises and the scattered sum does not.
void accumulate(std::span<const uint32_t> words, const float* evidence, uint32_t bits, double* scores) {
  constexpr size_t run_length = 256;
  std::array<uint32_t, run_length> bit;
  std::array<float, run_length> value;
  for (size_t start = 0; start < words.size(); start += run_length) {
    const size_t count = std::min(run_length, words.size() - start);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t word = words[start + i];
      bit[i] = bit_of_word(word, bits);
      // A carrier word has its sign where a float has it.
      value[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(evidence[start + i]) ^ (word & 0x80000000U));
    }
    for (size_t i = 0; i < count; ++i) scores[bit[i]] += value[i];
  }
}

/// The same for weights from `first` on, with the layer's carrier.
void accumulate(const Carrier& carrier, size_t first, std::span<const float> evidence, uint32_t bits,
                double* scores) {
  std::array<uint32_t, block_size> buffer;
  for (size_t start = 0; start < evidence.size(); start += block_size) {
    const auto words = std::span(buffer).first(std::min(block_size, evidence.size() - start));
    carrier.words(first + start, words);
    accumulate(words, evidence.data() + start, bits, scores);
  }
}

Matches count_matches(std::span<const double> scores, std::span<const int8_t> payload) {
  Matches found;
  for (size_t j = 0; j < scores.size(); ++j) {
    if (scores[j] == 0) continue;
    ++found.readable;
    found.matches += (scores[j] > 0) == (payload[j] > 0);
  }
  return found;
}

}  // namespace

void each_chunk(const FloatView& weights,
                const std::function<void(size_t first, std::span<const float> values)>& visit) {
  std::vector<float> chunk(std::min(chunk_size, weights.size()));
  for (size_t first = 0; first < weights.size(); first += chunk_size) {
    const auto values = std::span(chunk).first(std::min(chunk_size, weights.size() - first));
    weights.read(first, values);
    visit(first, values);
  }
}

double scale_of(const LayerWeights& layer) {
  double squares = 0;
  uint64_t count = 0;
  each_chunk(layer.weights, [&](size_t first, std::span<const float> values) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double weight = values[i];
      require(std::isfinite(weight), "layer '{}': weight {} is {}, expected a finite number", layer.name,
              first + i, weight);
      squares += weight * weight;
      count += weight != 0;
    }
  });
  return count == 0 ? 0 : std::sqrt(squares / static_cast<double>(count));
}

Secret null_master(uint64_t seed, uint64_t index) {
  const CanonicalBytes message = CanonicalBytes().text("deepwater null v1").u64(seed).u64(index);
  return Secret(Hasher().update(message.bytes()).finish());
}

Reader::Reader(std::span<const LayerWeights> layers, const Mark& mark)
    : bits_(mark.bits), amplitude_(mark.amplitude), tau_(mark.tau) {
  check_mark(mark, "mark");
  require(layers.size() == mark.layers.size(), "the mark has {} layers, found {}", mark.layers.size(),
          layers.size());
  size_t weights = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    const LayerWeights& given = layers[l];
    const MarkedLayer& expected = mark.layers[l];
    const bool missing = given.weights.empty();
    require(given.name == expected.name && given.shape == expected.shape &&
                (missing || given.weights.size() == weight_count(expected)),
            "marked layer {}: expected '{}' [{}], found '{}' [{}] with {} weights", l, expected.name,
            fmt::join(expected.shape, ", "), given.name, fmt::join(given.shape, ", "), given.weights.size());
    layers_.push_back({given.name, given.shape, given.weights, scale_of(given), {}});
    weights += given.weights.size();
  }
  if (weights > most_weighed_once) return;
  for (Layer& layer : layers_) {
    std::vector<float> all(layer.weights.size());
    each_evidence(layer, [&](size_t first, std::span<const float> evidence) {
      std::copy(evidence.begin(), evidence.end(), all.begin() + static_cast<std::ptrdiff_t>(first));
    });
    layer.evidence = std::move(all);
  }
}

void Reader::weigh(const Layer& layer, std::span<const float> weights, std::span<float> evidence) const {
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < weights.size(); ++i) {
    evidence[i] = layer.scale == 0
                      ? 0.0F
                      : static_cast<float>(dw::evidence(weights[i] / layer.scale, amplitude_, tau_));
  }
}

/// Calls visit(first, evidence) for chunks of the layer's weights, in order.
template <typename Visit>
void Reader::each_evidence(const Layer& layer, const Visit& visit) const {
  if (layer.evidence.empty()) {
    std::vector<float> buffer(chunk_size);
    each_chunk(layer.weights, [&](size_t first, std::span<const float> weights) {
      const auto evidence = std::span(buffer).first(weights.size());
      weigh(layer, weights, evidence);
      visit(first, std::span<const float>(evidence));
    });
  } else {
    each_chunk(layer.evidence, visit);
  }
}

Reading Reader::read(const Secret& master, std::span<const int8_t> payload) const {
  const auto bits = static_cast<size_t>(bits_);
  require(payload.size() == bits, "payload of {} bits, the mark has {}", payload.size(), bits);
  Reading reading;
  reading.scores.assign(bits, 0.0);
  std::vector<double> layer_scores(bits);
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const Carrier carrier(master, static_cast<uint32_t>(l), layer.shape);
    std::fill(layer_scores.begin(), layer_scores.end(), 0.0);
    each_evidence(layer, [&](size_t first, std::span<const float> evidence) {
      accumulate(carrier, first, evidence, static_cast<uint32_t>(bits_), layer_scores.data());
    });
    for (size_t j = 0; j < bits; ++j) reading.scores[j] += layer_scores[j];
    const Matches alone = count_matches(layer_scores, payload);
    reading.layers.push_back({layer.name, layer.weights.size(), layer.scale, alone, !layer.weights.empty(),
                              log2_p_value(alone.matches, alone.readable)});
  }
  reading.matches = count_matches(reading.scores, payload);
  reading.bit_error_rate = static_cast<double>(bits_ - reading.matches.matches) / bits_;
  for (size_t j = 0; j < bits; ++j) reading.scores[j] *= payload[j];
  return reading;
}

std::vector<BinomialDraw> Reader::read_null(const Statement& statement, uint64_t seed, int count,
                                            const ReadingProgress& progress) const {
  require(statement.bits == bits_, "statement of {} bits, the mark has {}", statement.bits, bits_);
  require(count >= 0, "{} null keys, expected 0 or more", count);
  const auto bits = static_cast<size_t>(bits_);
  const auto keys = static_cast<size_t>(count);
  const size_t keys_of_a_pass = most_null_scores / bits;
  const size_t passes = (keys + keys_of_a_pass - 1) / keys_of_a_pass;
  uint64_t weights = 0, done = 0;
  for (const Layer& layer : layers_) weights += layer.weights.size();
  std::vector<BinomialDraw> draws(keys);
  for (size_t start = 0; start < keys; start += keys_of_a_pass) {
    const size_t members = std::min(keys_of_a_pass, keys - start);
    std::vector<Secret> masters;
    for (size_t k = 0; k < members; ++k) masters.push_back(null_master(seed, start + k));
    std::vector<double> scores(members * bits, 0.0);
    for (size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      std::vector<Carrier> carriers;
      for (const Secret& master : masters)
        carriers.emplace_back(master, static_cast<uint32_t>(l), layer.shape);
      // Every key meets a chunk while it is in the cache. A key's sums are made in the order of the weights.
      each_evidence(layer, [&](size_t first, std::span<const float> evidence) {
#pragma omp parallel for schedule(dynamic)
        for (size_t k = 0; k < members; ++k)
          accumulate(carriers[k], first, evidence, static_cast<uint32_t>(bits_), &scores[k * bits]);
        done += evidence.size();
        if (progress) progress(done, weights * passes);
      });
    }
    for (size_t k = 0; k < members; ++k) {
      const Matches found =
          count_matches(std::span(scores).subspan(k * bits, bits), payload_of(masters[k], statement));
      draws[start + k] = {found.matches, found.readable};
    }
  }
  return draws;
}

}  // namespace dw
