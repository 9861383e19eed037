// Forging: someone who never marked a model looks for a key, a message or a carrier with which it reads as
// theirs (the ambiguity attack: Fan, Ng & Chan, "Rethinking Deep Neural Network Ownership Verification",
// NeurIPS 2019). What a scheme lets a claimant choose freely decides how much work that is.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "watermark/key.h"
#include "watermark/scheme.h"

namespace dw {

struct Forgery {
  int64_t tries = 0;
  int64_t successes = 0;  ///< claims that reached the threshold
  int best_matches = 0;   ///< of `bits`
  int bits = 0;
  int needed = 0;          ///< matches that reach the threshold
  double log2_chance = 0;  ///< of one try, by theory: 0 where every try succeeds
};

/// Matches of `bits` needed for p <= 2^threshold_log2_p; bits + 1 where none suffice.
int matches_needed(int bits, double threshold_log2_p);

/// A message chosen after reading: random keys, each with the payload it happens to read. Fails where the
/// carrier depends on the message.
Forgery forge_message(const MarkReader& reader, int bits, int64_t tries, uint64_t seed,
                      double threshold_log2_p = -64);

/// A key chosen after the fact where the payload is derived from it: random keys, each with the payload of
/// `statement`. Nothing better than trying is known, since both derivations are cryptographic.
Forgery search_keys(const MarkReader& reader, const Statement& statement, int64_t tries, uint64_t seed,
                    double threshold_log2_p = -64);

/// A projection chosen after the fact (Uchida's matrix X, when it need not come from a key): random rows,
/// those flipped that read the wrong bit of a random message. `values` are what the rows project, such as the
/// mean filter.
Forgery forge_matrix(std::span<const float> values, int bits, int64_t tries, uint64_t seed,
                     double threshold_log2_p = -64);

/// A carrier chosen after the fact where it need not come from a key: random owners of the weights, their
/// signs flipped, bit by bit, where the random message asks for it.
Forgery forge_signs(std::span<const float> weights, int bits, int64_t tries, uint64_t seed,
                    double threshold_log2_p = -64);

}  // namespace dw
