// A watermarking scheme: how a payload gets into a network and how it is read back. One interface for ours
// and for every scheme it is compared with; keys, payload, statistics and verdicts are the same for all.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/batches.h"
#include "core/gradient_term.h"
#include "core/module.h"
#include "watermark/claim.h"
#include "watermark/model.h"
#include "watermark/reader.h"

namespace dw {

/// The pictures a network reads: bytes p become (p / 255 - mean) / deviation.
struct PictureFormat {
  int64_t channels = 3, height = 32, width = 32;
  std::array<float, 3> mean{0.5F, 0.5F, 0.5F}, deviation{0.25F, 0.25F, 0.25F};

  bool operator==(const PictureFormat&) const = default;
};

/// What a scheme understands by name ("strength", "lambda", ...); unknown names are UsageErrors.
struct SchemeOptions {
  std::map<std::string, std::string> values = {};
  std::vector<std::string> layers = {};  ///< weights to mark; empty: the scheme's own choice
  PictureFormat pictures = {};           ///< for schemes that work through the training data
  bool fresh = false;  ///< the network has its random initial weights, and nothing is lost if they change
  double learning_rate = 0.1;  ///< at its peak, of the SGD that the mark is embedded by
  bool sparing = true;         ///< of a finished network's accuracy, as its owner is and a thief is not
  bool without_data = false;   ///< no training follows that would make good what the mark disturbs

  bool operator==(const SchemeOptions&) const = default;
};

/// One embedding under way.
class Embedding {
 public:
  Embedding() = default;
  Embedding(const Embedding&) = delete;
  Embedding& operator=(const Embedding&) = delete;
  virtual ~Embedding() = default;
  /// What the claim must say about this network.
  virtual const Mark& mark() const = 0;
  /// What pulls on the weights at every step; null for a scheme that works through the training data.
  virtual GradientTerm* term() { return nullptr; }
  /// The batches to train on in place of `batches`, which outlive the result; null: `batches` themselves.
  virtual std::unique_ptr<BatchSource> batches(BatchSource& /*batches*/) { return nullptr; }
};

/// Reads marks out of one suspect's weights, with as many keys as asked. Thread-safe.
class MarkReader {
 public:
  virtual ~MarkReader() = default;
  /// One score per bit, positive where the bit read is the payload's; exactly 0: nothing to read.
  virtual std::vector<double> scores(const Secret& master, std::span<const int8_t> payload) const = 0;
  /// What strangers' keys match. In parallel.
  virtual std::vector<BinomialDraw> read_null(const Strangers& strangers) const;
  /// A key and strangers beside it, for a verdict: in one pass over the weights where the scheme can, and
  /// then also each layer alone; elsewhere `layers` stays empty.
  virtual Reading read(const Secret& master, std::span<const int8_t> payload,
                       const Strangers& strangers) const;
};

class Scheme {
 public:
  virtual ~Scheme() = default;
  virtual std::string name() const = 0;         ///< "uchida"
  virtual std::string description() const = 0;  ///< one line, with the publication and the options
  /// Starts embedding into `network`, which has its device and outlives the result. UsageError: options or
  /// layers that do not fit, a payload too large.
  virtual std::unique_ptr<Embedding> embed(const Module& network, const std::string& network_name,
                                           const OwnerKey& key, const SchemeOptions& options) const = 0;
  /// False for schemes that are read from predictions (watermark/trigger_set.h): reader() is an Error then.
  virtual bool reads_weights() const { return true; }
  /// `layers` are those of the mark, in its order; one without weights is missing and passed over. Their
  /// weights outlive the result. Error: a mismatch, weights that are not finite, too few layers left to read
  /// anything.
  virtual std::unique_ptr<MarkReader> reader(std::span<const LayerWeights> layers,
                                             const Mark& mark) const = 0;
};

/// Every scheme, ours first. To add one: its file in schemes/, its line in scheme.cpp.
std::span<const Scheme* const> schemes();

/// Null for any other name.
const Scheme* find_scheme(std::string_view name);

/// UsageError naming the schemes for any other name.
const Scheme& scheme_named(std::string_view name);

/// Reads `mark` in `model`, which outlives the result and whose tensors have the mark's names; those it
/// lacks, or has in another shape, are missing. Error: none is there.
std::unique_ptr<MarkReader> reader_of(const Model& model, const Mark& mark);

/// Of all bits; a score of exactly 0 is an erased bit.
Matches matches_of(std::span<const double> scores);

}  // namespace dw
