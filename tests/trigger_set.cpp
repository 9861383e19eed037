// The black-box companion: its pictures, its place in training, predictions from files and their verdict.
#include <doctest/doctest.h>

#include <cmath>

#include "core/ops.h"
#include "core/tape.h"
#include "core/trainer.h"
#include "layers/networks.h"
#include "tests/schemes_support.h"
#include "watermark/trigger_set.h"

using namespace dw;
using namespace dw::test;

namespace {

Mark trigger_mark(int count = 40, int classes = 10) {
  Mark mark = other_mark("trigger-set", "n", 64);
  mark.parameters = {{"triggers", count}, {"classes", classes}, {"channels", 3},
                     {"height", 12},      {"width", 8},         {"cells", 4}};
  return mark;
}

// Batches of noise, each a function of its number.
class Noise : public BatchSource {
 public:
  int64_t batches() const override { return 5; }
  void seek(int64_t epoch, int64_t batch) override { number_ = static_cast<uint32_t>(epoch * 5 + batch); }
  Batch next() override {
    const Tensor images = random_normal({6, 3, 12, 8}, {3, 4, number_});
    ++number_;
    return {images, Tensor::from(std::vector<int64_t>{0, 1, 2, 3, 4, 5}, {6})};
  }

 private:
  uint32_t number_ = 0;
};

}  // namespace

TEST_CASE("triggers: pictures and labels follow from key and statement, and look random") {
  const OwnerKey key = fixed_key(64);
  const TriggerSet set = trigger_set_of(key.master, key.statement, trigger_mark(2000));
  CHECK(set.pixels.size() == 2000U * 3 * 12 * 8);
  CHECK(set.labels == trigger_labels(key.master, key.statement, trigger_mark(2000)));
  CHECK(trigger_set_of(key.master, key.statement, trigger_mark(2000)).pixels == set.pixels);
  CHECK(trigger_labels(null_master(1, 2), key.statement, trigger_mark(2000)) != set.labels);
  Statement later = key.statement;
  later.date = "2027-03-01T12:00:00Z";
  CHECK(trigger_labels(key.master, later, trigger_mark(2000)) != set.labels);
  std::vector<int> counts(10, 0);
  for (const int64_t label : set.labels) ++counts.at(static_cast<size_t>(label));
  for (const int count : counts) CHECK(std::abs(count - 200) < 70);
  double mean = 0;
  for (const uint8_t pixel : set.pixels) mean += pixel / static_cast<double>(set.pixels.size());
  CHECK(mean == doctest::Approx(127.5).epsilon(0.02));
  // Cells of 3 x 2 pixels have one colour.
  const auto pixel = [&](int64_t y, int64_t x, int64_t c) {
    return set.pixels[static_cast<size_t>((y * 8 + x) * 3 + c)];
  };
  CHECK(pixel(0, 0, 1) == pixel(2, 1, 1));
  CHECK(pixel(0, 0, 1) != pixel(3, 0, 1));
}

TEST_CASE("triggers: marks out of range are errors") {
  const OwnerKey key = fixed_key(64);
  for (const auto& [name, value] : std::map<std::string, double>{{"triggers", 0},
                                                                 {"triggers", 1e9},
                                                                 {"classes", 1},
                                                                 {"height", 0.5},
                                                                 {"width", 1e9},
                                                                 {"cells", -4}}) {
    Mark mark = trigger_mark();
    mark.parameters[name] = value;
    CHECK(contains(error_of([&] { trigger_set_of(key.master, key.statement, mark); }), name));
    mark.parameters.erase(name);
    CHECK(contains(error_of([&] { trigger_set_of(key.master, key.statement, mark); }), "lacks parameter"));
  }
}

TEST_CASE("triggers: each batch has the next few appended, whatever was read before") {
  const auto network = make_network({"mlp", 10, 3, 12, 8});
  network->initialize(1);
  const OwnerKey key = fixed_key(64);
  SchemeOptions options{.values = {{"triggers", "10"}, {"per-batch", "4"}}};
  options.pictures = {3, 12, 8, {0.4F, 0.5F, 0.6F}, {0.2F, 0.25F, 0.3F}};
  const auto embedding = scheme_named("trigger-set").embed(*network, "mlp", key, options);
  CHECK(embedding->term() == nullptr);
  CHECK(embedding->mark().parameters.at("classes") == 10);
  const TriggerSet set = trigger_set_of(key.master, key.statement, embedding->mark());
  Noise noise;
  const auto mixed = embedding->batches(noise);
  CHECK(mixed->batches() == 5);
  mixed->seek(1, 2);  // batch 7 of the run: triggers 28 .. 31, mod 10
  const Batch batch = mixed->next();
  CHECK(batch.images.shape() == Shape{10, 3, 12, 8});
  const std::vector<int64_t> labels = batch.labels.to_vector<int64_t>();
  const std::vector<float> images = batch.images.to_vector<float>();
  Noise plain;
  plain.seek(1, 2);
  const std::vector<float> expected = plain.next().images.to_vector<float>();
  CHECK(std::equal(expected.begin(), expected.end(), images.begin()));
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t trigger = (28 + i) % 10;
    CHECK(labels[static_cast<size_t>(6 + i)] == set.labels[static_cast<size_t>(trigger)]);
    for (int64_t c = 0; c < 3; ++c) {
      const double byte = set.pixels[static_cast<size_t>(((trigger * 12 + 5) * 8 + 6) * 3 + c)];
      const double value = (byte / 255 - options.pictures.mean[static_cast<size_t>(c)]) /
                           options.pictures.deviation[static_cast<size_t>(c)];
      CHECK(images[static_cast<size_t>((((6 + i) * 3 + c) * 12 + 5) * 8 + 6)] ==
            doctest::Approx(value).epsilon(1e-5));
    }
  }
}

TEST_CASE("triggers: a network trained with them answers as its owner says, and others' keys find nothing") {
  const auto network = make_network({"mlp", 10, 3, 12, 8});
  network->initialize(1);
  const OwnerKey key = fixed_key(64);
  SchemeOptions options{.values = {{"triggers", "40"}, {"per-batch", "20"}}};
  options.pictures = {3, 12, 8};
  const auto embedding = scheme_named("trigger-set").embed(*network, "mlp", key, options);
  Noise noise;
  const auto mixed = embedding->batches(noise);
  Sgd optimizer(network->parameters(), {.momentum = 0.9});
  TrainingPlan plan;
  plan.epochs = 12;
  plan.learning_rate = 0.05;
  train(*network, optimizer, *mixed, nullptr, nullptr, plan, {});

  const auto answers = [&](const OwnerKey& asked) {
    SchemeOptions all = options;
    all.values["per-batch"] = "40";
    const auto probe = scheme_named("trigger-set").embed(*network, "mlp", asked, all);
    const Batch batch = probe->batches(noise)->next();
    const NoGrad pause;
    std::vector<int64_t> labels = argmax((*network)(batch.images)).to_vector<int64_t>();
    labels.erase(labels.begin(), labels.begin() + 6);
    return labels;
  };
  noise.seek(0, 0);
  const ScratchFolder folder;
  const Claim claim = claim_of(key, embedding->mark());
  write_predictions(answers(key), folder / "own.csv");
  const Verdict own = verify_predictions(claim, key, folder / "own.csv");
  CHECK(own.owned);
  CHECK(own.matches.matches == 40);
  CHECK(own.chance == doctest::Approx(0.1));
  CHECK(own.log2_p == doctest::Approx(40 * std::log2(0.1)));
  CHECK(own.null_uniform_p > 0.01);
  CHECK(own.null_matches_mean == doctest::Approx(4).epsilon(0.1));
  CHECK(contains(own.reason, "40 of 40 labels match"));

  OwnerKey stranger = key;
  stranger.master = null_master(1, 1);
  write_predictions(answers(stranger), folder / "strange.csv");
  const Verdict strange =
      verify_predictions(claim_of(stranger, embedding->mark()), stranger, folder / "strange.csv");
  CHECK_FALSE(strange.owned);
  CHECK(strange.matches.matches < 16);
  // The weights are not what this mark is read from.
  CHECK(contains(error_of([&] { verify(claim, key, model_of(*network, {}), "m", ""); }),
                 "read from predictions"));
}

TEST_CASE("triggers: the chance of a stranger is a binomial tail") {
  CHECK(log2_binomial_tail(40, 40, 0.1) == doctest::Approx(40 * std::log2(0.1)));
  CHECK(log2_binomial_tail(0, 40, 0.1) == doctest::Approx(0).scale(1));
  CHECK(log2_binomial_tail(1, 3, 0.5) == doctest::Approx(std::log2(7.0 / 8)));
  CHECK(log2_binomial_tail(2, 3, 0.25) == doctest::Approx(std::log2(3 * 0.0625 * 0.75 + 1.0 / 64)));
  CHECK(log2_binomial_tail(100'000, 100'000, 0.001) == doctest::Approx(100'000 * std::log2(0.001)));
}

TEST_CASE("triggers: missing answers are wrong answers, and bad files are errors that say where") {
  const ScratchFolder folder;
  const auto reading = [&](const std::string& text) {
    write_quickly(folder / "p.csv", text);
    return read_predictions(folder / "p.csv", 4);
  };
  CHECK(reading("index,label\n2,7\n0,1\n") == std::vector<int64_t>{1, -1, 7, -1});
  CHECK(reading("index,label\r\n3,0\r\n") == std::vector<int64_t>{-1, -1, -1, 0});
  CHECK(reading("index,label") == std::vector<int64_t>{-1, -1, -1, -1});
  const auto failing = [&](const std::string& text) { return error_of([&] { reading(text); }); };
  CHECK(contains(failing(""), "empty"));
  CHECK(contains(failing("0,1\n"), "first line"));
  CHECK(contains(failing("index,label\n4,1\n"), "line 2: expected an index from 0 to 3"));
  CHECK(contains(failing("index,label\n1,1\n1,2\n"), "line 3: index 1 comes twice"));
  CHECK(contains(failing("index,label\n1,-1\n"), "line 2"));
  CHECK(contains(failing("index,label\n1,2,3\n"), "line 2"));
  CHECK(contains(failing("index,label\n\n"), "line 2"));
  CHECK(contains(failing("index,label\n99999999999999999999,1\n"), "line 2"));
}
