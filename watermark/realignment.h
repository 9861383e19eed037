// Realignment: undoes a thief's permuted, rescaled, flipped and added channels by comparing a suspect with
// the owner's own copy, so that the mark is read where it was put.
//
// It may not help a false claim: aligned by its values, a stranger's network would come to resemble the
// marked original, and so the mark. What is compared is therefore independent of the secret signs: weights by
// magnitude only, channels' signs and sizes, and where pruning has left few weights channels themselves, by
// batch norm's vectors and norms. Given all that, the carrier's
// signs are still uniform for a network that does not carry the mark, and the p-value stays what it says.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "watermark/model.h"

namespace dw {

struct GroupAlignment {
  std::string name;        ///< of the group's first producer
  int64_t channels = 0;    ///< of the original
  int64_t candidates = 0;  ///< of the suspect: more where channels were added
  int64_t moved = 0;       ///< channels found elsewhere than in the original
  int64_t flipped = 0;     ///< filters whose sign was turned back; a channel may be the sum of several
  double similarity = 0;   ///< mean correlation of magnitudes of matched channels, 1 for a copy
};

struct Realignment {
  Model model;  ///< the suspect in the original's order, signs and scales; the suspect's metadata
  /// Readings to charge to the p-value: the suspect as it is, and as realigned.
  double alternatives = 2;
  std::vector<GroupAlignment> groups;
};

/// `original` is the owner's copy and says its network. Errors: a suspect that lacks its tensors, or has
/// fewer channels or other kernels; weights that are not finite.
Realignment realign(const Model& suspect, const Model& original);

/// For each row another column, such that the sum of `benefit` (row-major, rows <= columns) over the pairs is
/// greatest: the Hungarian method with shortest augmenting paths (Jonker & Volgenant 1987), O(rows² columns).
std::vector<int64_t> best_assignment(std::span<const double> benefit, int64_t rows, int64_t columns);

}  // namespace dw
