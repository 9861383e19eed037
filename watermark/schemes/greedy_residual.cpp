// Liu, Weng, Zhu: "Watermarking deep neural networks with greedy residuals", ICML 2021. Weights are averaged
// into a row a bit; of each row the larger ones are kept, and the sign of what they sum to is the bit. Where
// a bit's weights lie is no secret: only the payload is.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "watermark/embedder.h"
#include "watermark/schemes/host_term.h"
#include "watermark/schemes/options.h"
#include "watermark/schemes/schemes.h"
#include "watermark/schemes/term_embedding.h"

namespace dw {
namespace {

// Average c of `count` over n >= count values covers [first, last): bins of equal length, widened to whole
// values.
struct Range {
  size_t first, last;
};
Range range_of(size_t c, size_t count, size_t n) {
  return {c * n / count, ((c + 1) * n + count - 1) / count};
}

struct Residuals {
  size_t bits, columns;
  double keep;  // fraction of each row

  // [bits, columns]: the layers' averages, averaged over the layers.
  std::vector<double> rows(std::span<const std::vector<float>> layers) const {
    std::vector<double> values(bits * columns, 0.0);
    for (const std::vector<float>& layer : layers) {
      for (size_t c = 0; c < values.size(); ++c) {
        const Range range = range_of(c, values.size(), layer.size());
        double sum = 0;
        for (size_t i = range.first; i < range.last; ++i) sum += layer[i];
        values[c] += sum / static_cast<double>(range.last - range.first) / static_cast<double>(layers.size());
      }
    }
    return values;
  }

  // Whether each value of a row is among its larger ones.
  std::vector<bool> kept(std::span<const double> row) const {
    std::vector<size_t> order(row.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return std::fabs(row[a]) < std::fabs(row[b]); });
    const auto dropped = static_cast<size_t>(std::lround((1 - keep) * static_cast<double>(row.size())));
    std::vector<bool> mask(row.size(), true);
    for (size_t k = 0; k < std::min(dropped, row.size()); ++k) mask[order[k]] = false;
    return mask;
  }

  double residual(std::span<const double> row, const std::vector<bool>& mask) const {
    double sum = 0;
    for (size_t c = 0; c < row.size(); ++c) sum += mask[c] ? row[c] : 0;
    return sum / static_cast<double>(row.size());
  }
};

class Term : public HostTerm {
 public:
  Term(std::vector<NamedTensor> layers, double lambda, const Residuals& residuals, double threshold,
       std::vector<int8_t> payload)
      : HostTerm(std::move(layers), lambda),
        residuals_(residuals),
        threshold_(threshold),
        payload_(std::move(payload)) {}

 private:
  double evaluate(std::span<const std::vector<float>> weights,
                  std::span<std::vector<float>> slopes) override {
    const std::vector<double> rows = residuals_.rows(weights);
    const size_t columns = residuals_.columns;
    double loss = 0;
    for (size_t j = 0; j < payload_.size(); ++j) {
      const auto row = std::span(rows).subspan(j * columns, columns);
      const std::vector<bool> mask = residuals_.kept(row);
      const double missing = threshold_ - payload_[j] * residuals_.residual(row, mask);
      if (missing <= 0) continue;
      loss += missing;
      for (size_t c = 0; c < columns; ++c)
        if (mask[c]) add_slope(slopes, j * columns + c, -payload_[j] / static_cast<double>(columns));
    }
    return loss;
  }

  void add_slope(std::span<std::vector<float>> slopes, size_t average, double slope) const {
    for (std::vector<float>& layer : slopes) {
      const Range range = range_of(average, residuals_.bits * residuals_.columns, layer.size());
      const auto shared = static_cast<double>((range.last - range.first) * slopes.size());
      for (size_t i = range.first; i < range.last; ++i) layer[i] += static_cast<float>(slope / shared);
    }
  }

  Residuals residuals_;
  double threshold_;
  std::vector<int8_t> payload_;
};

constexpr int64_t most_columns = 1 << 16;

class GreedyResidualReader : public MarkReader {
 public:
  GreedyResidualReader(std::span<const LayerWeights> layers, const Mark& mark) {
    const Residuals residuals{static_cast<size_t>(mark.bits),
                              static_cast<size_t>(whole_parameter(mark, "columns", 1, most_columns)),
                              mark.parameters.contains("keep") ? mark.parameters.at("keep") : -1};
    require(residuals.keep > 0 && residuals.keep <= 1,
            "the mark of scheme greedy-residual has keep = {}, expected above 0, at most 1", residuals.keep);
    std::vector<std::vector<float>> weights;
    for (const LayerWeights& layer : layers) {
      require(layer.weights.size() >= residuals.bits * residuals.columns,
              "layer '{}' has {} weights, scheme greedy-residual needs {} x {}", layer.name,
              layer.weights.size(), residuals.bits, residuals.columns);
      weights.push_back(layer.weights.all());
    }
    const std::vector<double> rows = residuals.rows(weights);
    for (size_t j = 0; j < residuals.bits; ++j) {
      const auto row = std::span<const double>(rows).subspan(j * residuals.columns, residuals.columns);
      residuals_.push_back(residuals.residual(row, residuals.kept(row)));
    }
  }

  std::vector<double> scores(const Secret& /*master*/, std::span<const int8_t> payload) const override {
    require(payload.size() == residuals_.size(), "payload of {} bits, the mark has {}", payload.size(),
            residuals_.size());
    std::vector<double> values = residuals_;
    for (size_t j = 0; j < values.size(); ++j) values[j] *= payload[j];
    return values;
  }

 private:
  std::vector<double> residuals_;
};

class GreedyResidual : public Scheme {
 public:
  std::string name() const override { return "greedy-residual"; }
  std::string description() const override {
    return "Liu et al. 2021 (ICML): signs of the larger averages; keep=0.5, threshold=0.1, columns=N "
           "(default: "
           "a weight each, at most 253), lambda=0.01";
  }

  std::unique_ptr<Embedding> embed(const Module& network, const std::string& network_name,
                                   const OwnerKey& key, const SchemeOptions& options) const override {
    const OptionReader reader(options, name(), {"keep", "threshold", "columns", "lambda"});
    std::vector<NamedTensor> layers;
    if (options.layers.empty()) {
      layers = {one_tensor_to_mark(network, {}, "block3.")};
    } else {
      layers = tensors_to_mark(network, options.layers);
    }
    const int64_t bits = key.statement.bits;
    int64_t smallest = layers[0].tensor.numel();
    for (const NamedTensor& layer : layers) smallest = std::min(smallest, layer.tensor.numel());
    constexpr int64_t published_columns = 253;
    const int64_t columns = reader.integer(
        "columns", std::clamp(smallest / bits, int64_t{1}, published_columns), 1, most_columns);
    if (smallest < bits * columns) {
      throw UsageError(fmt::format(
          "payload too large: {} bits of {} columns need as many weights in every layer for scheme "
          "greedy-residual, the smallest has {}",
          bits, columns, smallest));
    }
    const double keep = reader.number("keep", 0.5, 0, 1);
    const double lambda = reader.number("lambda", 0.01, 0, 1e6);
    const double threshold = reader.number("threshold", 0.1, 0, 1e6);
    Mark mark = other_mark(name(), network_name, key.statement.bits);
    for (const NamedTensor& layer : layers) mark.layers.push_back({layer.name, layer.tensor.shape()});
    mark.parameters = {{"columns", static_cast<double>(columns)},
                       {"keep", keep},
                       {"lambda", lambda},
                       {"threshold", threshold}};
    const Residuals residuals{static_cast<size_t>(bits), static_cast<size_t>(columns), keep};
    return std::make_unique<TermEmbedding>(
        std::move(mark), std::make_unique<Term>(std::move(layers), lambda, residuals, threshold,
                                                payload_of(key.master, key.statement)));
  }

  std::unique_ptr<MarkReader> reader(std::span<const LayerWeights> layers, const Mark& mark) const override {
    return std::make_unique<GreedyResidualReader>(present_layers(layers, mark), mark);
  }
};

}  // namespace

const Scheme& greedy_residual_scheme() {
  static const GreedyResidual scheme;
  return scheme;
}

}  // namespace dw
