// This project's scheme (docs/watermark.md): Embedder and Reader behind the interface that all schemes share.
#include <algorithm>
#include <cmath>

#include "watermark/embedder.h"
#include "watermark/marked_start.h"
#include "watermark/schemes/options.h"
#include "watermark/schemes/schemes.h"
#include "watermark/schemes/term_embedding.h"
#include "watermark/schemes/wasserstein.h"

namespace dw {
namespace {

class DeepwaterReader : public MarkReader {
 public:
  DeepwaterReader(std::span<const LayerWeights> layers, const Mark& mark) : reader_(layers, mark) {}

  std::vector<double> scores(const Secret& master, std::span<const int8_t> payload) const override {
    return reader_.read(master, payload).scores;
  }
  std::vector<BinomialDraw> read_null(const Strangers& strangers) const override {
    return reader_.read_null(strangers);
  }
  Reading read(const Secret& master, std::span<const int8_t> payload,
               const Strangers& strangers) const override {
    return reader_.read(master, payload, strangers);
  }

 private:
  Reader reader_;
};

/// Of a finished network, whose weights have to move for the mark: as much as costs nothing, to two digits,
/// but no less than a mark that can be told from chance bit by bit.
double affordable_strength(const Module& network, const OwnerKey& key, const EmbedOptions& options) {
  const std::vector<NamedTensor> layers = tensors_to_mark(network, options.layers);
  uint64_t weights = 0;
  for (const NamedTensor& layer : layers) weights += static_cast<uint64_t>(layer.tensor.numel());
  const double affordable = strength_of(finished_amplitude, weights, key.statement.bits,
                                        density_named(options.density, layers), options.tau);
  constexpr double least = 2;
  return std::clamp(std::floor(100 * affordable) / 100, least, options.strength);
}

/// The fewest of the largest layers that hold half of the weights: late, wide layers bear a change best.
std::vector<std::string> layers_to_change(const Module& network) {
  std::vector<MarkedLayer> layers = default_marked_layers(network);
  std::stable_sort(layers.begin(), layers.end(), [](const MarkedLayer& a, const MarkedLayer& b) {
    return weight_count(a) > weight_count(b);
  });
  uint64_t all = 0, chosen = 0;
  for (const MarkedLayer& layer : layers) all += weight_count(layer);
  std::vector<std::string> names;
  for (const MarkedLayer& layer : layers) {
    if (2 * chosen >= all) break;
    chosen += weight_count(layer);
    names.push_back(layer.name);
  }
  return names;
}

class Deepwater : public Scheme {
 public:
  std::string name() const override { return "deepwater"; }
  std::string description() const override {
    return "this project's: the distribution of every convolution's weights, tilted; "
           "strength=10 (default for finished networks: what amplitude 1/4 allows, 2 to 10), "
           "lambda=0.08 (default: 0.008 / learning rate), tau=0.7, density=gaussian|host, "
           "match=skew|full|w2 (default: full from a marked start, else skew), magnitudes=kept|free, "
           "start=random|marked (default: marked from scratch; not for finished networks). Without data and "
           "--layers: the fewest of the largest layers that hold half of the weights";
  }

  std::unique_ptr<Embedding> embed(const Module& network, const std::string& network_name,
                                   const OwnerKey& key, const SchemeOptions& options) const override {
    const OptionReader reader(options, name(),
                              {"strength", "lambda", "tau", "density", "match", "magnitudes", "start"});
    EmbedOptions embed;
    embed.lambda = reader.number("lambda", default_lambda_rate / options.learning_rate, 0, 1e6);
    embed.tau = reader.number("tau", embed.tau, 0, 100);
    embed.density = reader.choice("density", {"gaussian", "host"}) == 0 ? "gaussian" : "host";
    const bool marked_start = reader.choice("start", {"random", "marked"}, options.fresh ? 1 : 0) == 1;
    if (marked_start && !options.fresh) {
      throw UsageError(
          "scheme deepwater: start = \"marked\" chooses the signs of initial weights anew, which would undo "
          "what a "
          "finished network has learnt; expected random");
    }
    const size_t match = reader.choice("match", {"skew", "full", "w2"}, marked_start ? 1 : 0);
    embed.one_sided = match == 0;
    embed.keep_magnitudes = reader.choice("magnitudes", {"kept", "free"}) == 0;
    embed.layers =
        options.layers.empty() && options.without_data ? layers_to_change(network) : options.layers;
    if (!options.fresh && options.sparing && !options.values.contains("strength"))
      embed.strength = affordable_strength(network, key, embed);
    embed.strength = reader.number("strength", embed.strength, 0, 1000);
    auto embedder = std::make_unique<Embedder>(network, network_name, key, embed);
    Mark mark = embedder->mark();
    if (marked_start) choose_marked_signs(network, mark, key);
    if (match < 2) return std::make_unique<TermEmbedding>(std::move(mark), std::move(embedder));
    mark.match = "w2";
    const std::vector<NamedTensor> layers = tensors_to_mark(network, embed.layers);
    auto term = wasserstein_term(layers, mark, key, density_named(embed.density, layers), embed.lambda);
    return std::make_unique<TermEmbedding>(std::move(mark), std::move(term));
  }

  std::unique_ptr<MarkReader> reader(std::span<const LayerWeights> layers, const Mark& mark) const override {
    return std::make_unique<DeepwaterReader>(layers, mark);
  }
};

}  // namespace

const Scheme& deepwater_scheme() {
  static const Deepwater scheme;
  return scheme;
}

}  // namespace dw
