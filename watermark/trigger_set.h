// The black-box companion: pictures and labels derived from the owner's key, which the network is taught
// along with its task. Ownership is read from its answers to them, without the weights. After Adi et al.,
// "Turning your weakness into a strength", USENIX Security 2018; derivation and statistics: docs/formats.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "watermark/claim.h"
#include "watermark/key.h"
#include "watermark/statistics.h"

namespace dw {

struct TriggerSet {
  int64_t count = 0, classes = 0;
  int64_t channels = 0, height = 0, width = 0;
  std::vector<uint8_t> pixels;  ///< [count, height, width, channels]
  std::vector<int64_t> labels;  ///< [count]
};

/// Of a mark of scheme "trigger-set". Error: parameters that are missing or out of range.
TriggerSet trigger_set_of(const Secret& master, const Statement& statement, const Mark& mark);

/// Of a mark of scheme "trigger-set": how many pictures, of how many classes. Errors likewise.
int64_t trigger_count(const Mark& mark);
int64_t trigger_classes(const Mark& mark);

/// The labels alone.
std::vector<int64_t> trigger_labels(const Secret& master, const Statement& statement, const Mark& mark);

/// "index,label" and a line a picture. The label said to picture i at [i]; -1 where the file has none, which
/// counts as wrong. Error: malformed, an index twice or out of range, a negative label.
std::vector<int64_t> read_predictions(const std::filesystem::path& path, int64_t count);

/// Replaces `path` atomically.
void write_predictions(std::span<const int64_t> labels, const std::filesystem::path& path);

/// How often the labels of `count` strangers' keys (null_master) agree with these predictions.
std::vector<BinomialDraw> strangers_agreement(std::span<const int64_t> predictions,
                                              const Statement& statement, const Mark& mark, uint64_t seed,
                                              int count);

}  // namespace dw
