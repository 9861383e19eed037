#include "watermark/reader.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "watermark/carrier.h"
#include "watermark/target.h"

namespace dw {
namespace {

constexpr size_t chunk_size = 1 << 16;  // weights that every key meets before the next ones
constexpr size_t block_size = 4096;     // weights whose carrier is in memory at a time
/// Networks up to this size are weighed once for all readings, larger ones at each.
constexpr size_t most_weighed_once = 1 << 22;
/// Scores of null keys in memory at a time; more keys take another pass over the weights.
constexpr size_t most_null_scores = 1 << 23;

/// Adds each weight's signed evidence to the bit that owns it, in order. Bits and signs are taken from a
/// short run of words first, because that loop vectorises and the scattered sum does not.
template <typename BitOf>
void accumulate(std::span<const uint32_t> words, const float* evidence, const BitOf& bit_of, double* scores) {
  constexpr size_t run_length = 256;
  std::array<uint32_t, run_length> bit;
  std::array<float, run_length> value;
  for (size_t start = 0; start < words.size(); start += run_length) {
    const size_t count = std::min(run_length, words.size() - start);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t word = words[start + i];
      bit[i] = bit_of(word);
      // A carrier word has its sign where a float has it.
      value[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(evidence[start + i]) ^ (word & 0x80000000U));
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) scores[bit[i]] += value[i];
  }
}

/// The same for weights from `first` on, with the layer's carrier.
void accumulate(const Carrier& carrier, size_t first, std::span<const float> evidence, uint32_t bits,
                double* scores) {
  const int exponent = std::countr_zero(bits);
  std::array<uint32_t, block_size> buffer;
  for (size_t start = 0; start < evidence.size(); start += block_size) {
    const auto words = std::span(buffer).first(std::min(block_size, evidence.size() - start));
    const float* const own = evidence.data() + start;
    carrier.words(first + start, words);
    if (std::has_single_bit(bits)) {
      accumulate(
          words, own, [=](uint32_t word) { return bit_of_word_by_shift(word, exponent); }, scores);
    } else {
      accumulate(
          words, own, [=](uint32_t word) { return bit_of_word(word, bits); }, scores);
    }
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

/// The scale of a layer whose weights come piece by piece.
class ScaleSum {
 public:
  explicit ScaleSum(const std::string& name) : name_(name) {}

  void add(std::span<const float> values) {
    for (const float value : values) {
      const double weight = value;
      require(std::isfinite(weight), "layer '{}': weight {} is {}, expected a finite number", name_, seen_,
              weight);
      squares_ += weight * weight;
      nonzero_ += weight != 0;
      ++seen_;
    }
  }
  double scale() const { return nonzero_ == 0 ? 0 : std::sqrt(squares_ / static_cast<double>(nonzero_)); }

 private:
  const std::string& name_;
  double squares_ = 0;
  uint64_t nonzero_ = 0, seen_ = 0;
};

}  // namespace

double scale_of(const LayerWeights& layer) {
  ScaleSum sum(layer.name);
  std::vector<float> chunk(std::min(chunk_size, layer.weights.size()));
  for (size_t first = 0; first < layer.weights.size(); first += chunk_size) {
    const auto values = std::span(chunk).first(std::min(chunk_size, layer.weights.size() - first));
    layer.weights.read(first, values);
    sum.add(values);
  }
  return sum.scale();
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
    layers_.push_back({given.name, given.shape, given.weights, 0, {}});
    weights += given.weights.size();
  }
  order_.resize(layers_.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  std::ranges::stable_sort(order_, {}, [&](size_t l) { return layers_[l].weights.offset(); });
  if (weights > most_weighed_once) return;
  for (const size_t l : order_) {
    Layer& layer = layers_[l];
    std::vector<float> values(layer.weights.size());
    layer.scale = weigh(layer, values);
    layer.evidence = std::move(values);
  }
}

/// Reads the layer's weights into `values` and makes evidence of them; its scale.
double Reader::weigh(const Layer& layer, std::span<float> values) const {
  layer.weights.read(0, values);
  ScaleSum sum(layer.name);
  sum.add(values);
  const double scale = sum.scale();
#pragma omp parallel for schedule(static)
  for (float& value : values)
    value = scale == 0 ? 0.0F : static_cast<float>(evidence(value / scale, amplitude_, tau_));
  return scale;
}

/// Calls visit(layer number, scale, evidence) for each layer, in the order of the file.
template <typename Visit>
void Reader::each_layer(const Visit& visit) const {
  std::vector<float> buffer;
  for (const size_t l : order_) {
    const Layer& layer = layers_[l];
    if (layer.evidence.size() == layer.weights.size()) {
      visit(l, layer.scale, std::span<const float>(layer.evidence));
    } else {
      buffer.resize(layer.weights.size());
      const double scale = weigh(layer, buffer);
      visit(l, scale, std::span<const float>(buffer));
    }
  }
}

/// Whose reading is told layer by layer.
struct Reader::Owner {
  const Secret& master;
  std::span<const int8_t> payload;
  Reading reading;
};

/// One pass over the weights. `scores` has an entry for every bit of every stranger.
void Reader::pass(Owner* owner, std::span<const Secret> strangers, std::span<double> scores,
                  const std::function<void(uint64_t)>& advance) const {
  const auto bits = static_cast<size_t>(bits_);
  std::vector<double> own(bits);
  each_layer([&](size_t l, double scale, std::span<const float> evidence) {
    const Layer& layer = layers_[l];
    const auto ordinal = static_cast<uint32_t>(l);
    std::vector<Carrier> carriers;
    for (const Secret& master : strangers) carriers.emplace_back(master, ordinal, layer.shape);
    if (owner != nullptr) carriers.emplace_back(owner->master, ordinal, layer.shape);
    std::fill(own.begin(), own.end(), 0.0);
    // Every key meets a chunk while it is in the cache. A key's sums are made in the order of the weights.
    for (size_t first = 0; first < evidence.size(); first += chunk_size) {
      const auto chunk = evidence.subspan(first, std::min(chunk_size, evidence.size() - first));
#pragma omp parallel for schedule(dynamic) if (carriers.size() > 1)
      for (size_t k = 0; k < carriers.size(); ++k) {
        double* const sums = k < strangers.size() ? &scores[k * bits] : own.data();
        accumulate(carriers[k], first, chunk, static_cast<uint32_t>(bits_), sums);
      }
      if (advance) advance(chunk.size());
    }
    if (owner == nullptr) return;
    for (size_t j = 0; j < bits; ++j) owner->reading.scores[j] += own[j];
    const Matches alone = count_matches(own, owner->payload);
    owner->reading.layers[l] = {
        layer.name, layer.weights.size(),   scale,
        alone,      !layer.weights.empty(), log2_p_value(alone.matches, alone.readable)};
  });
}

std::vector<BinomialDraw> Reader::run(Owner* owner, const Strangers& strangers) const {
  const auto bits = static_cast<size_t>(bits_);
  require(strangers.count >= 0, "{} null keys, expected 0 or more", strangers.count);
  const size_t keys = strangers.statement == nullptr ? 0 : static_cast<size_t>(strangers.count);
  if (keys > 0)
    require(strangers.statement->bits == bits_, "statement of {} bits, the mark has {}",
            strangers.statement->bits, bits_);
  const size_t keys_of_a_pass = most_null_scores / bits;
  const size_t passes = std::max<size_t>(1, (keys + keys_of_a_pass - 1) / keys_of_a_pass);
  uint64_t weights = 0, done = 0;
  for (const Layer& layer : layers_) weights += layer.weights.size();
  const auto advance = [&](uint64_t now) {
    done += now;
    if (strangers.progress && keys > 0) strangers.progress(done, weights * passes);
  };
  std::vector<BinomialDraw> draws(keys);
  if (owner == nullptr && keys == 0) return draws;
  for (size_t p = 0; p < passes; ++p) {
    const size_t start = p * keys_of_a_pass, members = std::min(keys_of_a_pass, keys - start);
    std::vector<Secret> masters;
    for (size_t k = 0; k < members; ++k) masters.push_back(null_master(strangers.seed, start + k));
    std::vector<double> scores(members * bits, 0.0);
    pass(p == 0 ? owner : nullptr, masters, scores, advance);
    for (size_t k = 0; k < members; ++k) {
      const Matches found = count_matches(std::span(scores).subspan(k * bits, bits),
                                          payload_of(masters[k], *strangers.statement));
      draws[start + k] = {found.matches, found.readable};
    }
  }
  return draws;
}

Reading Reader::read(const Secret& master, std::span<const int8_t> payload,
                     const Strangers& strangers) const {
  const auto bits = static_cast<size_t>(bits_);
  require(payload.size() == bits, "payload of {} bits, the mark has {}", payload.size(), bits);
  Owner owner{master, payload, {}};
  Reading& reading = owner.reading;
  reading.scores.assign(bits, 0.0);
  reading.layers.resize(layers_.size());
  reading.strangers = run(&owner, strangers);
  reading.matches = count_matches(reading.scores, payload);
  reading.bit_error_rate = static_cast<double>(bits_ - reading.matches.matches) / bits_;
  for (size_t j = 0; j < bits; ++j) reading.scores[j] *= payload[j];
  return reading;
}

std::vector<BinomialDraw> Reader::read_null(const Strangers& strangers) const {
  return run(nullptr, strangers);
}

}  // namespace dw
