// A watermarking scheme: how a payload gets into a network and how it is read back. One interface for ours and
// for every scheme it is compared with; keys, payload, statistics and verdicts are the same for all.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/trainer.h"
#include "watermark/claim.h"
#include "watermark/reader.h"

namespace dw {

/// Numbers a scheme understands by name ("strength", "lambda", ...); unknown names are UsageErrors.
struct SchemeOptions {
  std::map<std::string, std::string> values;
  std::vector<std::string> layers;  ///< weights to mark; empty: the scheme's own choice
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
  /// `layers` are those of the mark, in its order. Error: a mismatch, weights that are not finite.
  virtual std::unique_ptr<MarkReader> reader(std::span<const LayerWeights> layers, const Mark& mark) const = 0;
};

/// Every scheme, ours first. To add one: its file in schemes/, its line in scheme.cpp.
std::span<const Scheme* const> schemes();

/// UsageError naming the schemes for any other name.
const Scheme& scheme_named(std::string_view name);

/// Of all bits; a score of exactly 0 is an erased bit.
Matches matches_of(std::span<const double> scores);

}  // namespace dw
