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

constexpr size_t block_size = 4096;  // weights whose carrier is in memory at a time
constexpr size_t key_group = 16;     // null keys that share one pass over the weights

/// Adds each weight's signed evidence to the bit that owns it, in order. Bits and signs are taken from a
/// short run of words first, because that loop vectorises and the scattered sum does not.
void accumulate(std::span<const uint32_t> words, const float* evidence, uint32_t bits, double* scores) {
  constexpr size_t run_length = 256;
  std::array<uint32_t, run_length> bit;
  std::array<double, run_length> value;
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

double scale_of(const LayerWeights& layer) {
  double squares = 0;
  uint64_t count = 0;
  for (size_t i = 0; i < layer.weights.size(); ++i) {
    const double weight = layer.weights[i];
    require(std::isfinite(weight), "layer '{}': weight {} is {}, expected a finite number", layer.name, i,
            weight);
    squares += weight * weight;
    count += weight != 0;
  }
  return count == 0 ? 0 : std::sqrt(squares / static_cast<double>(count));
}

Secret null_master(uint64_t seed, uint64_t index) {
  const CanonicalBytes message = CanonicalBytes().text("deepwater null v1").u64(seed).u64(index);
  return Secret(Hasher().update(message.bytes()).finish());
}

Reader::Reader(std::span<const LayerWeights> layers, const Mark& mark) : bits_(mark.bits) {
  check_mark(mark, "mark");
  require(layers.size() == mark.layers.size(), "the mark has {} layers, found {}", mark.layers.size(),
          layers.size());
  for (size_t l = 0; l < layers.size(); ++l) {
    const LayerWeights& given = layers[l];
    const MarkedLayer& expected = mark.layers[l];
    const bool missing = given.weights.empty();
    require(given.name == expected.name && given.shape == expected.shape &&
                (missing || given.weights.size() == weight_count(expected)),
            "marked layer {}: expected '{}' [{}], found '{}' [{}] with {} weights", l, expected.name,
            fmt::join(expected.shape, ", "), given.name, fmt::join(given.shape, ", "), given.weights.size());
    Layer& layer = layers_.emplace_back(Layer{given.name, given.shape, scale_of(given), {}});
    layer.evidence.resize(given.weights.size());
    if (layer.scale == 0) continue;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < given.weights.size(); ++i)
      layer.evidence[i] =
          static_cast<float>(evidence(given.weights[i] / layer.scale, mark.amplitude, mark.tau));
  }
}

Reading Reader::read(const Secret& master, std::span<const int8_t> payload) const {
  const auto bits = static_cast<size_t>(bits_);
  require(payload.size() == bits, "payload of {} bits, the mark has {}", payload.size(), bits);
  Reading reading;
  reading.scores.assign(bits, 0.0);
  std::vector<double> layer_scores(bits);
  std::array<uint32_t, block_size> buffer;
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const Carrier carrier(master, static_cast<uint32_t>(l), layer.shape);
    std::fill(layer_scores.begin(), layer_scores.end(), 0.0);
    for (size_t start = 0; start < layer.evidence.size(); start += block_size) {
      const auto words = std::span(buffer).first(std::min(block_size, layer.evidence.size() - start));
      carrier.words(start, words);
      accumulate(words, layer.evidence.data() + start, static_cast<uint32_t>(bits_), layer_scores.data());
    }
    for (size_t j = 0; j < bits; ++j) reading.scores[j] += layer_scores[j];
    const Matches alone = count_matches(layer_scores, payload);
    reading.layers.push_back({layer.name, layer.evidence.size(), layer.scale, alone, !layer.evidence.empty(),
                              log2_p_value(alone.matches, alone.readable)});
  }
  reading.matches = count_matches(reading.scores, payload);
  reading.bit_error_rate = static_cast<double>(bits_ - reading.matches.matches) / bits_;
  for (size_t j = 0; j < bits; ++j) reading.scores[j] *= payload[j];
  return reading;
}

std::vector<BinomialDraw> Reader::read_null(const Statement& statement, uint64_t seed, int count) const {
  require(statement.bits == bits_, "statement of {} bits, the mark has {}", statement.bits, bits_);
  require(count >= 0, "{} null keys, expected 0 or more", count);
  const auto bits = static_cast<size_t>(bits_);
  const auto keys = static_cast<size_t>(count);
  std::vector<BinomialDraw> draws(keys);
  const size_t groups = (keys + key_group - 1) / key_group;
  // Each key's sums are made by one thread, in the order of the weights.
#pragma omp parallel for schedule(static)
  for (size_t group = 0; group < groups; ++group) {
    const size_t first = group * key_group;
    const size_t members = std::min(key_group, keys - first);
    std::vector<Secret> masters;
    for (size_t k = 0; k < members; ++k) masters.push_back(null_master(seed, first + k));
    std::vector<double> scores(members * bits, 0.0);
    std::array<uint32_t, block_size> buffer;
    for (size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      std::vector<Carrier> carriers;
      for (const Secret& master : masters)
        carriers.emplace_back(master, static_cast<uint32_t>(l), layer.shape);
      for (size_t start = 0; start < layer.evidence.size(); start += block_size) {
        const auto words = std::span(buffer).first(std::min(block_size, layer.evidence.size() - start));
        for (size_t k = 0; k < members; ++k) {
          carriers[k].words(start, words);
          accumulate(words, layer.evidence.data() + start, static_cast<uint32_t>(bits_), &scores[k * bits]);
        }
      }
    }
    for (size_t k = 0; k < members; ++k) {
      const Matches found =
          count_matches(std::span(scores).subspan(k * bits, bits), payload_of(masters[k], statement));
      draws[first + k] = {found.matches, found.readable};
    }
  }
  return draws;
}

}  // namespace dw
