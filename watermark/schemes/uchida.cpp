// Uchida, Nagai, Sakazawa, Satoh: "Embedding watermarks into deep neural networks", ICMR 2017 (arXiv
// 1701.04082). The bits are the signs of a secret projection of one convolution's weights, averaged over its
// filters; a cross-entropy pulls them there.
#include "watermark/embedder.h"
#include "watermark/schemes/host_term.h"
#include "watermark/schemes/key_numbers.h"
#include "watermark/schemes/options.h"
#include "watermark/schemes/schemes.h"
#include "watermark/schemes/term_embedding.h"

namespace dw {
namespace {

enum class Matrix : uint8_t { direct, diff, random };

// One row a bit. Dense for `random`; else one or two entries a row.
class Projection {
 public:
  Projection(const Secret& master, Matrix kind, size_t bits, size_t columns)
      : kind_(kind), columns_(columns) {
    if (kind == Matrix::random) {
      dense_ = KeyNumbers(master, "uchida", "matrix").normals(bits * columns);
      return;
    }
    KeyNumbers numbers(master, "uchida", "places");
    std::vector<uint32_t> order;
    const auto next = [&] {
      if (order.empty()) order = shuffled(numbers);
      const uint32_t place = order.back();
      order.pop_back();
      return place;
    };
    for (size_t j = 0; j < bits; ++j) {
      plus_.push_back(next());
      if (kind == Matrix::diff) {
        uint32_t other = next();
        while (other == plus_.back()) other = next();
        minus_.push_back(other);
      }
    }
  }

  std::vector<double> apply(std::span<const double> means) const {
    std::vector<double> values(kind_ == Matrix::random ? dense_.size() / columns_ : plus_.size(), 0.0);
    for (size_t j = 0; j < values.size(); ++j) {
      if (kind_ == Matrix::random) {
        for (size_t i = 0; i < columns_; ++i) values[j] += dense_[j * columns_ + i] * means[i];
      } else {
        values[j] = means[plus_[j]] - (kind_ == Matrix::diff ? means[minus_[j]] : 0);
      }
    }
    return values;
  }

  // The transposed matrix.
  std::vector<double> apply_backwards(std::span<const double> values) const {
    std::vector<double> slopes(columns_, 0.0);
    for (size_t j = 0; j < values.size(); ++j) {
      if (kind_ == Matrix::random) {
        for (size_t i = 0; i < columns_; ++i) slopes[i] += dense_[j * columns_ + i] * values[j];
      } else {
        slopes[plus_[j]] += values[j];
        if (kind_ == Matrix::diff) slopes[minus_[j]] -= values[j];
      }
    }
    return slopes;
  }

 private:
  std::vector<uint32_t> shuffled(KeyNumbers& numbers) const {
    std::vector<uint32_t> order(columns_);
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[numbers.below(static_cast<uint32_t>(i))]);
    return order;
  }

  Matrix kind_;
  size_t columns_;
  std::vector<float> dense_;
  std::vector<uint32_t> plus_, minus_;
};

// OIHW weights averaged over the filters O.
std::vector<double> mean_filter(std::span<const float> weights, size_t filters) {
  std::vector<double> means(weights.size() / filters, 0.0);
  for (size_t i = 0; i < weights.size(); ++i) means[i % means.size()] += weights[i];
  for (double& mean : means) mean /= static_cast<double>(filters);
  return means;
}

class Term : public HostTerm {
 public:
  Term(const NamedTensor& layer, double lambda, Projection projection, std::vector<int8_t> payload)
      : HostTerm({layer}, lambda),
        filters_(static_cast<size_t>(layer.tensor.size(0))),
        projection_(std::move(projection)),
        payload_(std::move(payload)) {}

 private:
  double evaluate(std::span<const std::vector<float>> weights,
                  std::span<std::vector<float>> slopes) override {
    const std::vector<double> logits = projection_.apply(mean_filter(weights[0], filters_));
    std::vector<double> pulls(logits.size());
    const double loss = cross_entropy_of_bits(logits, payload_, pulls);
    const std::vector<double> to_means = projection_.apply_backwards(pulls);
    for (size_t i = 0; i < slopes[0].size(); ++i)
      slopes[0][i] += static_cast<float>(to_means[i % to_means.size()] / static_cast<double>(filters_));
    return loss;
  }

  size_t filters_;
  Projection projection_;
  std::vector<int8_t> payload_;
};

class UchidaReader : public MarkReader {
 public:
  UchidaReader(const LayerWeights& layer, const Mark& mark)
      : kind_(static_cast<Matrix>(whole_parameter(mark, "matrix", 0, 2))),
        means_(mean_filter(layer.weights.all(), static_cast<size_t>(layer.shape.front()))) {}

  std::vector<double> scores(const Secret& master, std::span<const int8_t> payload) const override {
    std::vector<double> values = Projection(master, kind_, payload.size(), means_.size()).apply(means_);
    for (size_t j = 0; j < values.size(); ++j) values[j] *= payload[j];
    return values;
  }

 private:
  Matrix kind_;
  std::vector<double> means_;
};

class Uchida : public Scheme {
 public:
  std::string name() const override { return "uchida"; }
  std::string description() const override {
    return "Uchida et al. 2017 (arXiv 1701.04082): a projection of one convolution; "
           "matrix=random|direct|diff, "
           "lambda=0.01";
  }

  std::unique_ptr<Embedding> embed(const Module& network, const std::string& network_name,
                                   const OwnerKey& key, const SchemeOptions& options) const override {
    const OptionReader reader(options, name(), {"matrix", "lambda"});
    constexpr std::array kinds{Matrix::random, Matrix::direct, Matrix::diff};
    const Matrix kind = kinds[reader.choice("matrix", {"random", "direct", "diff"})];
    const double lambda = reader.number("lambda", 0.01, 0, 1e6);
    const NamedTensor layer = one_tensor_to_mark(network, options.layers, "block2.");
    const auto columns = static_cast<size_t>(layer.tensor.numel() / layer.tensor.size(0));
    const int bits = key.statement.bits;
    // With fewer weights than bits not every payload has a solution.
    if (columns < static_cast<size_t>(bits)) {
      throw UsageError(
          fmt::format("payload too large: {} has {} weights a filter for {} bits; scheme uchida "
                      "needs one a bit",
                      layer.name, columns, bits));
    }
    Mark mark = other_mark(name(), network_name, bits);
    mark.layers = {{layer.name, layer.tensor.shape()}};
    mark.parameters = {{"lambda", lambda}, {"matrix", static_cast<double>(kind)}};
    auto term = std::make_unique<Term>(layer, lambda,
                                       Projection(key.master, kind, static_cast<size_t>(bits), columns),
                                       payload_of(key.master, key.statement));
    return std::make_unique<TermEmbedding>(std::move(mark), std::move(term));
  }

  std::unique_ptr<MarkReader> reader(std::span<const LayerWeights> layers, const Mark& mark) const override {
    const std::vector<LayerWeights> present = present_layers(layers, mark);
    require(mark.layers.size() == 1 && present[0].weights.size() / static_cast<size_t>(present[0].shape[0]) >=
                                           static_cast<size_t>(mark.bits),
            "a mark of scheme uchida names one layer with a weight a filter for each of its {} bits",
            mark.bits);
    return std::make_unique<UchidaReader>(present[0], mark);
  }
};

}  // namespace

const Scheme& uchida_scheme() {
  static const Uchida scheme;
  return scheme;
}

}  // namespace dw
