// Reading and the verdict on synthetic weights: marked, pruned, natural, foreign, hostile.
#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/safetensors.h"
#include "tests/watermark_ownership_support.h"
#include "watermark/verifier.h"

using namespace dw;
using test::contains;
using test::error_of;
using test::fixed_key;
using test::ScratchFolder;
using test::views;
using test::Weights;
using test::wrn_mark;

namespace {

void save_model(const std::filesystem::path& path, const Mark& mark, const Weights& weights) {
  std::map<std::string, SafetensorsEntry> entries;
  for (size_t l = 0; l < weights.size(); ++l)
    entries[mark.layers[l].name] = {"F32", mark.layers[l].shape, std::as_bytes(std::span(weights[l]))};
  const std::vector<float> stem(16 * 3 * 9, 0.5F);
  entries["conv1.weight"] = {"F32", {16, 3, 3, 3}, std::as_bytes(std::span(stem))};
  write_safetensors(path, {}, entries);
}

Claim claim_with(const Mark& mark) {
  Claim claim = make_claim(fixed_key());
  add_mark(claim, fixed_key(), mark);
  return claim;
}

Verdict verdict_on(const Weights& weights, const Claim& claim, const OwnerKey& key, int null_keys = 50) {
  const ScratchFolder folder;
  save_model(folder / "model", wrn_mark(), weights);
  return verify(claim, key, SafetensorsFile::open(folder / "model"), {.null_keys = null_keys});
}

}  // namespace

TEST_CASE("ownership: the scale is the root mean square of the non-zero weights") {
  const std::vector<float> weights = {0, 3, -4, 0};
  CHECK(scale_of({"w", {4}, weights}) == doctest::Approx(std::sqrt(12.5)));
  const std::vector<float> zeros = {0, -0.0F};
  CHECK(scale_of({"w", {2}, zeros}) == 0);
  const std::vector<float> bad = {1, std::numeric_limits<float>::infinity()};
  CHECK(contains(error_of([&] { scale_of({"w", {2}, bad}); }), "layer 'w': weight 1 is inf"));
}

TEST_CASE("ownership: a score is the plain sum of section 4") {
  const Mark mark = test::small_mark();
  const OwnerKey key = fixed_key();
  const Weights weights = test::natural_weights(mark, 3);
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  std::vector<double> expected(256);
  for (size_t l = 0; l < weights.size(); ++l) {
    const double scale = scale_of(views(mark, weights)[l]);
    std::vector<uint32_t> words(weights[l].size());
    Carrier(key.master, static_cast<uint32_t>(l), mark.layers[l].shape).words(0, words);
    for (size_t i = 0; i < words.size(); ++i) {
      const uint32_t j = static_cast<uint32_t>((uint64_t{words[i] % 0x80000000U} * 256) / 0x80000000U);
      const double sign = words[i] >= 0x80000000U ? -1 : 1;
      expected[j] += payload[j] * 2 * std::atanh(0.85 * std::tanh(sign * weights[l][i] / scale / 0.7));
    }
  }
  const Reading reading = Reader(views(mark, weights), mark).read(key.master, payload);
  int matches = 0;
  for (size_t j = 0; j < 256; ++j) {
    CHECK(reading.scores[j] == doctest::Approx(expected[j]).epsilon(1e-5));
    matches += expected[j] > 0;
  }
  CHECK(reading.matches.matches == matches);
  CHECK(reading.matches.readable == 256);
}

TEST_CASE("ownership: marked weights read without error, pruned too, and look natural") {
  const Mark mark = wrn_mark();
  const OwnerKey key = fixed_key();
  Weights weights = test::marked_weights(mark, key, 11);
  const Claim claim = claim_with(mark);

  double sum = 0;
  double squares = 0;
  double fourth = 0;
  const std::vector<float>& layer = weights[6];
  for (const float w : layer) {
    const double u = w / 0.35;
    sum += u;
    squares += u * u;
    fourth += u * u * u * u;
  }
  const auto n = static_cast<double>(layer.size());
  CHECK(std::fabs(sum / n) < 5 / std::sqrt(n));
  CHECK(std::fabs(squares / n - 1) < 5 * std::sqrt(2 / n));
  CHECK(std::fabs(fourth / n - 3) < 5 * std::sqrt(96 / n));

  const Verdict fresh = verdict_on(weights, claim, key);
  CHECK(fresh.verdict() == "OWNED");
  CHECK(fresh.matches.matches == 256);
  CHECK(fresh.bit_error_rate == 0);
  CHECK(fresh.log2_p == doctest::Approx(-255));
  REQUIRE(fresh.layers.size() == 8);
  CHECK(fresh.layers[6].matches.matches > 240);
  CHECK(fresh.layers[6].weights == 36'864);
  CHECK(fresh.layers[6].scale == doctest::Approx(0.35).epsilon(0.02));
  for (const double fraction : {0.65, 0.9}) {
    Weights pruned = weights;
    test::prune(pruned, fraction);
    CHECK(verdict_on(pruned, claim, key).matches.matches == 256);
  }
  // A stranger's key, and flipping every sign.
  OwnerKey stranger = fixed_key();
  stranger.master = null_master(1, 1);
  stranger.statement.owner = "Eve";
  Claim strange_claim = make_claim(stranger);
  add_mark(strange_claim, stranger, mark);
  const Verdict foreign = verdict_on(weights, strange_claim, stranger);
  CHECK(foreign.verdict() == "NOT PROVEN");
  CHECK(std::abs(foreign.matches.matches - 128) < 45);
  for (std::vector<float>& values : weights)
    for (float& value : values) value = -value;
  const Verdict flipped = verdict_on(weights, claim, key);
  CHECK(flipped.verdict() == "OWNED");
  CHECK(flipped.matches.matches == 0);
  CHECK(contains(flipped.reason, "flipped"));
}

TEST_CASE("ownership: natural weights are not proven and their null is uniform") {
  const Mark mark = wrn_mark();
  const Verdict verdict = verdict_on(test::natural_weights(mark, 21), claim_with(mark), fixed_key(), 1000);
  CHECK(verdict.verdict() == "NOT PROVEN");
  CHECK(verdict.log2_p > -20);
  CHECK(verdict.null_keys == 1000);
  CHECK(std::fabs(verdict.null_matches_mean - 128) < 5 * 8 / std::sqrt(1000.0));
  CHECK(std::fabs(verdict.null_matches_deviation - 8) < 5 * 8 / std::sqrt(2000.0));
  CHECK(verdict.null_uniform_p > 1e-3);
}

TEST_CASE("ownership: a network of zeros proves nothing, for any key") {
  const Mark mark = wrn_mark();
  Weights weights = test::natural_weights(mark, 1);
  for (std::vector<float>& values : weights) std::fill(values.begin(), values.end(), 0.0F);
  const Verdict verdict = verdict_on(weights, claim_with(mark), fixed_key());
  CHECK(verdict.verdict() == "NOT PROVEN");
  CHECK(verdict.matches.readable == 0);
  CHECK(verdict.log2_p == 0);
  CHECK(verdict.bit_error_rate == 1);
  // One layer left: the others contribute nothing and disturb nothing.
  Weights one = test::marked_weights(mark, fixed_key(), 5);
  for (size_t l = 0; l < one.size(); ++l)
    if (l != 6) std::fill(one[l].begin(), one[l].end(), 0.0F);
  const Verdict partial = verdict_on(one, claim_with(mark), fixed_key());
  CHECK(partial.verdict() == "OWNED");
  CHECK(partial.layers[0].scale == 0);
  CHECK(partial.layers[0].matches.readable == 0);
}

TEST_CASE("ownership: results do not depend on the number of threads") {
  const Mark mark = wrn_mark();
  const OwnerKey key = fixed_key();
  const Weights weights = test::marked_weights(mark, key, 31);
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  const int before = omp_get_max_threads();
  std::vector<std::vector<double>> scores;
  std::vector<std::vector<int64_t>> null;
  for (const int threads : {1, 2, 3}) {
    omp_set_num_threads(threads);
    const Reader reader(views(mark, weights), mark);
    scores.push_back(reader.read(key.master, payload).scores);
    std::vector<int64_t>& matches = null.emplace_back();
    for (const BinomialDraw& draw : reader.read_null({&key.statement, 9, 37, {}}))
      matches.push_back(draw.successes);
  }
  omp_set_num_threads(before);
  CHECK(scores[0] == scores[1]);
  CHECK(scores[0] == scores[2]);
  CHECK(null[0] == null[1]);
  CHECK(null[0] == null[2]);
  CHECK(null[0].size() == 37);
}

TEST_CASE("ownership: a null key is read exactly as an owner's key would be") {
  const Mark mark = wrn_mark();
  const Weights weights = test::natural_weights(mark, 41);
  const Statement statement = fixed_key().statement;
  const Reader reader(views(mark, weights), mark);
  const std::vector<BinomialDraw> null = reader.read_null({&statement, 4, 20, {}});
  for (size_t i = 0; i < null.size(); ++i) {
    const Secret master = null_master(4, i);
    CHECK(null[i].successes == reader.read(master, payload_of(master, statement)).matches.matches);
  }
}

TEST_CASE("ownership: owner and strangers read in one pass are what they are alone") {
  const Mark mark = wrn_mark();
  const OwnerKey key = fixed_key();
  const Weights weights = test::marked_weights(mark, key, 43);
  const Reader reader(views(mark, weights), mark);
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  uint64_t behind = 0, whole = 0, expected = 0;
  for (const MarkedLayer& layer : mark.layers) expected += weight_count(layer);
  const Strangers strangers{&key.statement, 5, 12, [&](uint64_t done, uint64_t total) {
                              behind = done;
                              whole = total;
                            }};
  const Reading together = reader.read(key.master, payload, strangers),
                alone = reader.read(key.master, payload);
  CHECK(behind == expected);
  CHECK(whole == expected);
  CHECK(together.scores == alone.scores);
  CHECK(together.layers.size() == mark.layers.size());
  CHECK(alone.strangers.empty());
  const std::vector<BinomialDraw> null = reader.read_null({&key.statement, 5, 12, {}});
  REQUIRE(together.strangers.size() == 12);
  for (size_t i = 0; i < null.size(); ++i) CHECK(together.strangers[i].successes == null[i].successes);
}

TEST_CASE("ownership: a large file is read from front to back, whatever the order of the mark's layers") {
  Mark mark = test::small_mark();
  mark.layers = {{"z", {512, 512, 3, 3}}, {"a", {512, 512, 3, 3}}};
  const OwnerKey key = fixed_key();
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  const Weights weights = test::marked_weights(mark, key, 44);
  const ScratchFolder folder;
  save_model(folder / "model", mark, weights);
  const SafetensorsFile file = SafetensorsFile::open(folder / "model");
  size_t seen = 0;
  FilePass pass(file, [&](std::span<const std::byte> piece) { seen += piece.size(); });
  std::vector<LayerWeights> layers = views(mark, weights);
  const Reading in_memory = Reader(layers, mark).read(key.master, payload);
  for (LayerWeights& layer : layers) layer.weights = file.floats(layer.name, &pass);
  std::vector<size_t> seen_at;
  const Reading reading =
      Reader(layers, mark).read(key.master, payload, {&key.statement, 5, 1, [&](uint64_t, uint64_t) {
                                                        seen_at.push_back(seen);
                                                      }});
  REQUIRE(!seen_at.empty());
  CHECK(seen_at.front() == file.floats("a").offset() + 4 * weights[1].size());
  CHECK(seen_at.back() == file.floats("z").offset() + 4 * weights[0].size());
  REQUIRE(reading.layers.size() == 2);
  CHECK(reading.layers[0].name == "z");
  CHECK(reading.layers[0].matches.matches == in_memory.layers[0].matches.matches);
  CHECK(reading.layers[1].matches.matches == in_memory.layers[1].matches.matches);
  CHECK(reading.matches.matches == in_memory.matches.matches);
}

TEST_CASE("ownership: a key that does not open the claim is a verdict, not an error") {
  const Mark mark = wrn_mark();
  const Weights weights = test::marked_weights(mark, fixed_key(), 2);
  OwnerKey other = fixed_key();
  other.master = null_master(2, 2);
  const Verdict verdict = verdict_on(weights, claim_with(mark), other);
  CHECK(verdict.verdict() == "NOT PROVEN");
  CHECK(contains(verdict.reason, "does not open"));
  CHECK(verdict.claim_commitment != verdict.key_commitment);
  CHECK(verdict.log2_p == 0);
}

TEST_CASE("ownership: claims and files that do not fit each other are errors that say how") {
  const Mark mark = wrn_mark();
  const ScratchFolder folder;
  Weights weights = test::natural_weights(mark, 1);
  save_model(folder / "model", mark, weights);
  const SafetensorsFile model = SafetensorsFile::open(folder / "model");
  const auto failing = [&](const Claim& claim, VerifyOptions options = {.null_keys = 2}) {
    return error_of([&] { verify(claim, fixed_key(), model, options); });
  };
  CHECK(failing(claim_with(mark)).empty());
  CHECK(contains(failing(make_claim(fixed_key())), "train a network with this key first"));
  Mark other = mark;
  for (MarkedLayer& layer : other.layers) layer.shape.push_back(5);
  CHECK(contains(failing(claim_with(other)),
                 "expected 'block1.layer.0.conv1.weight' [16, 16, 3, 3, 5], found [16, 16, 3, 3]"));
  other.layers[0].name = "missing.weight";
  CHECK(contains(failing(claim_with(other)),
                 "expected 'missing.weight' [16, 16, 3, 3, 5], found no such tensor"));
  Claim tampered = claim_with(mark);
  tampered.marks[0].mark.tau = 0.8;
  CHECK(contains(failing(tampered), "marks[0]: signature"));
  CHECK_THROWS_AS(verify(claim_with(mark), fixed_key(), model, {.null_keys = -1}), UsageError);
  CHECK_THROWS_AS(verify(claim_with(mark), fixed_key(), model, {.threshold_log2_p = 1}), UsageError);
  CHECK_THROWS_AS(verify(claim_with(mark), fixed_key(), model, {.alternatives = 0}), UsageError);

  weights[3][17] = std::numeric_limits<float>::quiet_NaN();
  save_model(folder / "nan", mark, weights);
  CHECK(contains(
      error_of([&] { verify(claim_with(mark), fixed_key(), SafetensorsFile::open(folder / "nan")); }),
      "layer 'block2.layer.0.conv2.weight': weight 17 is nan"));
}

TEST_CASE("ownership: of several fitting marks the best counts, and the choice is paid for") {
  const Mark mark = wrn_mark();
  Claim claim = make_claim(fixed_key());
  Mark reordered = mark;
  std::swap(reordered.layers[0], reordered.layers[1]);
  std::swap(reordered.layers[5], reordered.layers[6]);
  add_mark(claim, fixed_key(), reordered);
  add_mark(claim, fixed_key(), mark);
  const Verdict verdict = verdict_on(test::marked_weights(mark, fixed_key(), 8), claim, fixed_key());
  CHECK(verdict.matches.matches == 256);
  CHECK(verdict.alternatives == 2);
  CHECK(verdict.log2_p == doctest::Approx(-254));
}

TEST_CASE("ownership: the verdict as JSON has the promised fields and the digests of its inputs") {
  const Mark mark = wrn_mark();
  const ScratchFolder folder;
  save_model(folder / "model", mark, test::marked_weights(mark, fixed_key(), 2));
  save_claim(claim_with(mark), folder / "claim");
  const Claim claim = load_claim(folder / "claim");
  const SafetensorsFile model = SafetensorsFile::open(folder / "model");
  const std::string text = to_json(verify(claim, fixed_key(), model, {.null_keys = 40, .seed = 3}));
  CHECK(text == to_json(verify(claim, fixed_key(), model, {.null_keys = 40, .seed = 3})));
  const nlohmann::json verdict = nlohmann::json::parse(text);
  CHECK(verdict["verdict"] == "OWNED");
  CHECK(verdict["bits"] == 256);
  CHECK(verdict["matches"] == 256);
  CHECK(verdict["ber"] == 0.0);
  CHECK(verdict["log10_p"].get<double>() == doctest::Approx(-255 * std::log10(2.0)));
  CHECK(verdict["null_keys"] == 40);
  CHECK(verdict["null_matches_mean"].get<double>() == doctest::Approx(128).epsilon(0.1));
  CHECK(verdict["null_uniform_p"].is_number());
  CHECK(verdict["model_digest"] == hex_digest(read_file(folder / "model")));
  CHECK(verdict["claim_digest"] == hex_digest(read_file(folder / "claim")));
  CHECK(verdict["key_commitment"] == verdict["claim_commitment"]);
  CHECK(verdict["layers"].size() == 8);
  CHECK(nlohmann::json::parse(to_json(verify(claim, fixed_key(), model, {.null_keys = 0})))["null_uniform_p"]
            .is_null());
}
