// Forging: certain where the claimant may choose freely, hopeless where everything comes from a key.
#include <doctest/doctest.h>

#include "tests/attack_support.h"
#include "watermark/forging.h"
#include "watermark/statistics.h"

using namespace dw;
using namespace dw::test;

TEST_CASE("forging: the number of matches that proves") {
  CHECK(matches_needed(256, -64) == 200);
  CHECK(matches_needed(256, -128) == 228);
  CHECK(log2_p_value(199, 256) > -64);
  CHECK(matches_needed(64, -64) == 65);  // 2 · 2^-64 is not enough
  CHECK(matches_needed(65, -64) == 65);
}

TEST_CASE("forging: free messages, matrices and signs always succeed") {
  const std::vector<float> values = random_normal({400}, {1, 14, 0}).to_vector<float>();
  for (const Forgery& forgery : {forge_matrix(values, 128, 10, 1), forge_signs(values, 64 + 64, 10, 1)}) {
    CHECK(forgery.tries == 10);
    CHECK(forgery.bits == 128);
    CHECK(forgery.successes == 10);
    CHECK(forgery.log2_chance == 0);
  }
  CHECK(forge_matrix(values, 128, 10, 1).best_matches == 128);
  // Nothing to read, nothing to claim.
  CHECK(forge_matrix(std::vector<float>(400, 0.0F), 128, 5, 1).successes == 0);

  const Mark mark = wrn_mark();
  const Weights weights = natural_weights(mark, 3);
  const auto reader = scheme_named("deepwater").reader(views(mark, weights), mark);
  const Forgery free = forge_message(*reader, 256, 5, 1);
  CHECK(free.successes == 5);
  CHECK(free.best_matches == 256);
}

TEST_CASE("forging: a search for keys matches no more than chance, on marked networks too") {
  const OwnerKey key = fixed_key();
  const Mark mark = wrn_mark();
  for (const Weights& weights : {natural_weights(mark, 3), marked_weights(mark, key, 3)}) {
    const auto reader = scheme_named("deepwater").reader(views(mark, weights), mark);
    const Forgery forgery = search_keys(*reader, key.statement, 100, 7);
    CHECK(forgery.tries == 100);
    CHECK(forgery.successes == 0);
    CHECK(forgery.needed == 200);
    CHECK(forgery.best_matches > 136);
    CHECK(forgery.best_matches < 165);
    CHECK(forgery.log2_chance == doctest::Approx(log2_p_value(200, 256)));
    CHECK(forgery.log2_chance <= -64);
  }
}
