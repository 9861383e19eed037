// Yao, Song, Jin: "Hashed watermark as a filter", 2025 (arXiv 2507.11137), "NeuralMark". The watermark
// itself, repeated, chooses which weights of a layer carry it, in several rounds; what is left is averaged
// into a short vector, whose secret projection has the bits as signs.
#include "watermark/embedder.h"
#include "watermark/schemes/host_term.h"
#include "watermark/schemes/key_numbers.h"
#include "watermark/schemes/options.h"
#include "watermark/schemes/schemes.h"
#include "watermark/schemes/term_embedding.h"

namespace dw {
namespace {

// The places of the weights that carry the mark: in each round those where the payload, repeated, is +1, of
// as many weights as fill whole payloads.
std::vector<uint32_t> filtered(size_t weights, std::span<const int8_t> payload, int64_t rounds) {
  std::vector<uint32_t> places(weights);
  for (uint32_t i = 0; i < places.size(); ++i) places[i] = i;
  for (int64_t round = 0; round < rounds; ++round) {
    const size_t whole = places.size() / payload.size() * payload.size();
    std::vector<uint32_t> kept;
    for (size_t i = 0; i < whole; ++i)
      if (payload[i % payload.size()] > 0) kept.push_back(places[i]);
    places = std::move(kept);
  }
  return places;
}

class Pooled {
 public:
  // Weight p of those kept belongs to average p mod size; the last incomplete group is left out.
  Pooled(const Secret& master, std::span<const int8_t> payload, size_t weights, int64_t rounds, size_t size)
      : places_(filtered(weights, payload, rounds)), size_(size), bits_(payload.size()) {
    places_.resize(places_.size() / size * size);
    if (!places_.empty()) matrix_ = KeyNumbers(master, "neuralmark", "matrix").normals(size * bits_);
  }

  bool is_empty() const { return places_.empty(); }

  std::vector<double> logits(std::span<const float> weights) const {
    std::vector<double> means(size_, 0.0), values(bits_, 0.0);
    for (size_t p = 0; p < places_.size(); ++p) means[p % size_] += weights[places_[p]] / group();
    for (size_t k = 0; k < size_ && !is_empty(); ++k)
      for (size_t j = 0; j < bits_; ++j) values[j] += matrix_[k * bits_ + j] * means[k];
    return values;
  }

  void add_slopes(std::span<const double> of_logits, std::span<float> slopes) const {
    std::vector<double> of_means(size_, 0.0);
    for (size_t k = 0; k < size_; ++k)
      for (size_t j = 0; j < bits_; ++j) of_means[k] += matrix_[k * bits_ + j] * of_logits[j];
    for (size_t p = 0; p < places_.size(); ++p)
      slopes[places_[p]] += static_cast<float>(of_means[p % size_] / group());
  }

 private:
  /// Weights of an average.
  double group() const {
    const size_t whole = places_.size() / size_;
    return static_cast<double>(whole);
  }

  std::vector<uint32_t> places_;
  size_t size_, bits_;
  std::vector<float> matrix_;  // [size, bits]
};

class Term : public HostTerm {
 public:
  Term(const NamedTensor& layer, double lambda, Pooled pooled, std::vector<int8_t> payload)
      : HostTerm({layer}, lambda), pooled_(std::move(pooled)), payload_(std::move(payload)) {}

 private:
  // The mean over bits, as published.
  double evaluate(std::span<const std::vector<float>> weights,
                  std::span<std::vector<float>> slopes) override {
    const std::vector<double> logits = pooled_.logits(weights[0]);
    std::vector<double> pulls(logits.size());
    const auto bits = static_cast<double>(logits.size());
    const double loss = cross_entropy_of_bits(logits, payload_, pulls) / bits;
    for (double& pull : pulls) pull /= bits;
    pooled_.add_slopes(pulls, slopes[0]);
    return loss;
  }

  Pooled pooled_;
  std::vector<int8_t> payload_;
};

constexpr int64_t most_rounds = 16;
constexpr int64_t largest_size = 1 << 16;

class NeuralMarkReader : public MarkReader {
 public:
  NeuralMarkReader(const LayerWeights& layer, const Mark& mark)
      : rounds_(whole_parameter(mark, "rounds", 0, most_rounds)),
        size_(static_cast<size_t>(whole_parameter(mark, "size", 1, largest_size))),
        weights_(layer.weights.all()) {}

  std::vector<double> scores(const Secret& master, std::span<const int8_t> payload) const override {
    std::vector<double> values = Pooled(master, payload, weights_.size(), rounds_, size_).logits(weights_);
    for (size_t j = 0; j < values.size(); ++j) values[j] *= payload[j];
    return values;
  }

 private:
  int64_t rounds_;
  size_t size_;
  std::vector<float> weights_;
};

class NeuralMark : public Scheme {
 public:
  std::string name() const override { return "neuralmark"; }
  std::string description() const override {
    return "Yao et al. 2025 (arXiv 2507.11137): weights filtered by the mark, averaged, projected; rounds=4, "
           "size=512, lambda=1";
  }

  std::unique_ptr<Embedding> embed(const Module& network, const std::string& network_name,
                                   const OwnerKey& key, const SchemeOptions& options) const override {
    const OptionReader reader(options, name(), {"rounds", "size", "lambda"});
    const int64_t rounds = reader.integer("rounds", 4, 0, most_rounds);
    const int64_t size = reader.integer("size", 512, 1, largest_size);
    const double lambda = reader.number("lambda", 1, 0, 1e6);
    const NamedTensor layer = one_tensor_to_mark(network, options.layers, "block3.");
    const std::vector<int8_t> payload = payload_of(key.master, key.statement);
    const auto weights = static_cast<size_t>(layer.tensor.numel());
    Pooled pooled(key.master, payload, weights, rounds, static_cast<size_t>(size));
    if (pooled.is_empty()) {
      throw UsageError(
          fmt::format("payload too large: {} has {} weights, of which {} rounds leave {}, scheme "
                      "neuralmark needs size = {}",
                      layer.name, weights, rounds, filtered(weights, payload, rounds).size(), size));
    }
    Mark mark = other_mark(name(), network_name, key.statement.bits);
    mark.layers = {{layer.name, layer.tensor.shape()}};
    mark.parameters = {
        {"lambda", lambda}, {"rounds", static_cast<double>(rounds)}, {"size", static_cast<double>(size)}};
    return std::make_unique<TermEmbedding>(std::move(mark),
                                           std::make_unique<Term>(layer, lambda, std::move(pooled), payload));
  }

  std::unique_ptr<MarkReader> reader(std::span<const LayerWeights> layers, const Mark& mark) const override {
    const std::vector<LayerWeights> present = present_layers(layers, mark);
    require(mark.layers.size() == 1, "a mark of scheme neuralmark names one layer, found {}",
            mark.layers.size());
    return std::make_unique<NeuralMarkReader>(present[0], mark);
  }
};

}  // namespace

const Scheme& neural_mark_scheme() {
  static const NeuralMark scheme;
  return scheme;
}

}  // namespace dw
