#include "watermark/forging.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/random.h"
#include "kernels/error.h"
#include "watermark/statistics.h"

namespace dw {
namespace {

constexpr uint32_t forging_stream = 18;

// Counts the tries whose claims reach the threshold; `read_try` says what each reads.
Forgery count_tries(int bits, int64_t tries, double threshold,
                    const std::function<Matches(int64_t index)>& read_try) {
  Forgery forgery{.tries = tries, .bits = bits, .needed = matches_needed(bits, threshold)};
  for (int64_t i = 0; i < tries; ++i) {
    const auto [matches, readable] = read_try(i);
    // The verdict takes a mark that reads all inverted as well.
    forgery.best_matches = std::max({forgery.best_matches, matches, readable - matches});
    forgery.successes += log2_p_value(matches, readable) <= threshold;
  }
  return forgery;
}

std::vector<int8_t> random_message(int bits, uint64_t seed, int64_t index) {
  std::vector<int8_t> message;
  const PhiloxKey key{seed, forging_stream, 0};
  for (int j = 0; j < bits; ++j) {
    const uint64_t element = static_cast<uint64_t>(index) * maximum_bits + static_cast<uint64_t>(j);
    message.push_back((philox(key, element).word[0] & 1) != 0 ? 1 : -1);
  }
  return message;
}

// A row or a bit's weights whose sum has the wrong sign is flipped, and reads right for it.
Matches matches_after_flipping(std::vector<double> sums, const std::vector<int8_t>& message) {
  for (size_t j = 0; j < sums.size(); ++j) {
    const double sign = sums[j] * message[j] < 0 ? -1 : 1;
    sums[j] *= sign * message[j];
  }
  return matches_of(sums);
}

}  // namespace

int matches_needed(int bits, double threshold_log2_p) {
  for (int matches = bits - bits / 2; matches <= bits; ++matches)
    if (log2_p_value(matches, bits) <= threshold_log2_p) return matches;
  return bits + 1;
}

Forgery forge_message(const MarkReader& reader, int bits, int64_t tries, uint64_t seed, double threshold) {
  const std::vector<int8_t> ones(static_cast<size_t>(bits), 1);
  return count_tries(bits, tries, threshold, [&](int64_t i) {
    const Secret master = null_master(seed, static_cast<uint64_t>(i));
    std::vector<int8_t> message;
    for (const double score : reader.scores(master, ones)) message.push_back(score < 0 ? -1 : 1);
    return matches_of(reader.scores(master, message));
  });
}

Forgery search_keys(const MarkReader& reader, const Statement& statement, int64_t tries, uint64_t seed,
                    double threshold) {
  const std::vector<BinomialDraw> draws = reader.read_null({&statement, seed, static_cast<int>(tries), {}});
  Forgery forgery = count_tries(statement.bits, tries, threshold, [&](int64_t i) {
    const BinomialDraw& draw = draws[static_cast<size_t>(i)];
    return Matches{static_cast<int>(draw.successes), static_cast<int>(draw.trials)};
  });
  forgery.log2_chance =
      forgery.needed > statement.bits ? -INFINITY : log2_p_value(forgery.needed, statement.bits);
  return forgery;
}

Forgery forge_matrix(std::span<const float> values, int bits, int64_t tries, uint64_t seed,
                     double threshold) {
  return count_tries(bits, tries, threshold, [&](int64_t i) {
    const auto columns = static_cast<int64_t>(values.size());
    const std::vector<float> matrix =
        random_normal({bits, columns}, {seed, forging_stream + 1, static_cast<uint32_t>(i)})
            .to_vector<float>();
    std::vector<double> sums(static_cast<size_t>(bits), 0);
    for (size_t j = 0; j < sums.size(); ++j)
      for (size_t c = 0; c < values.size(); ++c) sums[j] += double{matrix[j * values.size() + c]} * values[c];
    return matches_after_flipping(std::move(sums), random_message(bits, seed, i));
  });
}

Forgery forge_signs(std::span<const float> weights, int bits, int64_t tries, uint64_t seed,
                    double threshold) {
  return count_tries(bits, tries, threshold, [&](int64_t i) {
    const PhiloxKey key{seed, forging_stream + 2, static_cast<uint32_t>(i)};
    std::vector<double> sums(static_cast<size_t>(bits), 0);
    for (size_t w = 0; w < weights.size(); ++w) {
      const PhiloxWords words = philox(key, w);
      const double sign = (words.word[0] & 1) != 0 ? 1 : -1;
      sums[words.word[1] % static_cast<uint32_t>(bits)] += sign * weights[w];
    }
    return matches_after_flipping(std::move(sums), random_message(bits, seed, i));
  });
}

}  // namespace dw
