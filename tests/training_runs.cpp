// The trainer: what it writes, resuming to the same bits, stopping, and losses that are not finite.
#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/checkpoint.h"
#include "core/files.h"
#include "core/trainer.h"
#include "tests/training_support.h"
#include "tests/watermark_ownership_support.h"

using namespace dw;
using dw::test::contains;
using dw::test::error_of;
using dw::test::Quarters;
using dw::test::ScratchFolder;
using dw::test::small_network;

namespace {

struct Setup {
  int64_t epochs = 2;
  bool resume = false;
  bool adam = false;
  double rate = 0.05;
  int64_t stop_after = -1;    // steps
  int64_t poison_after = -1;  // batches
  std::string fingerprint = "a test run";
};

TrainingResult run(const std::filesystem::path& out, const Setup& setup) {
  const auto network = small_network();
  std::unique_ptr<Optimizer> optimizer;
  if (setup.adam) {
    optimizer = std::make_unique<Adam>(network->parameters(), Adam::Options{});
  } else {
    optimizer = std::make_unique<Sgd>(network->parameters(), Sgd::Options{});
  }
  Quarters batches(1), test(2);
  batches.poison_after = setup.poison_after;
  TrainingPlan plan;
  plan.epochs = setup.epochs;
  plan.learning_rate = setup.rate;
  plan.seed = 4;
  plan.model_path = out;
  plan.metadata = {{"network", "small"}};
  plan.fingerprint = setup.fingerprint;
  plan.resume = setup.resume;
  TrainingObserver observer;
  int64_t last = 0;
  observer.on_step = [&](int64_t step, int64_t, double, double) { last = step; };
  observer.stop_requested = [&] { return setup.stop_after >= 0 && last >= setup.stop_after; };
  return train(*network, *optimizer, batches, &test, nullptr, plan, observer);
}

std::vector<nlohmann::json> metrics_in(const std::filesystem::path& out) {
  std::vector<nlohmann::json> lines;
  std::istringstream text(read_text_file(metrics_path(out)));
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

// The metrics without what the clock says.
std::vector<nlohmann::json> timeless_metrics_in(const std::filesystem::path& out) {
  std::vector<nlohmann::json> lines = metrics_in(out);
  for (nlohmann::json& line : lines) line.erase("seconds");
  return lines;
}

void check_same_results(const std::filesystem::path& a, const std::filesystem::path& b) {
  CHECK(read_file(a) == read_file(b));
  CHECK(read_file(best_model_path(a)) == read_file(best_model_path(b)));
  CHECK(timeless_metrics_in(a) == timeless_metrics_in(b));
}

}  // namespace

TEST_CASE("training: stopped after any step and resumed, it ends with the same bits") {
  for (const bool adam : {false, true}) {
    const ScratchFolder folder;
    const auto straight = folder / "straight", whole = straight / "model.safetensors";
    std::filesystem::create_directory(straight);
    CHECK(run(whole, {.adam = adam}).finished);
    for (int64_t stop = 1; stop <= 5; ++stop) {
      CAPTURE(adam);
      CAPTURE(stop);
      const auto parts = folder / ("stopped" + std::to_string(stop));
      std::filesystem::create_directory(parts);
      const auto model = parts / "model.safetensors";
      const TrainingResult stopped = run(model, {.adam = adam, .stop_after = stop});
      CHECK_FALSE(stopped.finished);
      CHECK(stopped.epochs.size() == (stop < 3 ? 0 : 1));
      CHECK_FALSE(std::filesystem::exists(model));
      const TrainingResult resumed = run(model, {.resume = true, .adam = adam});
      CHECK(resumed.finished);
      CHECK(resumed.epochs.size() == 2);
      check_same_results(model, whole);
    }
  }
}

TEST_CASE("training: the same seed gives the same bits") {
  const ScratchFolder folder;
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  for (const std::string name : {"a", "b"}) {
    std::filesystem::create_directory(folder / name);
    run(folder / name / "model.safetensors", {});
  }
  omp_set_num_threads(threads);
  check_same_results(folder / "a" / "model.safetensors", folder / "b" / "model.safetensors");
}

TEST_CASE("training: one line of metrics an epoch, the best model kept, the network learns") {
  const ScratchFolder folder;
  const auto model = folder / "model.safetensors";
  const TrainingResult result = run(model, {.epochs = 8});
  const std::vector<nlohmann::json> lines = metrics_in(model);
  REQUIRE(lines.size() == 8);
  REQUIRE(result.epochs.size() == 8);
  double best = -1;
  int64_t best_epoch = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    CHECK(lines[i].at("epoch") == i + 1);
    CHECK(lines[i].at("train_loss") == result.epochs[i].train_loss);
    CHECK(lines[i].at("test_accuracy") == result.epochs[i].test_accuracy);
    if (result.epochs[i].test_accuracy <= best) continue;
    best = result.epochs[i].test_accuracy;
    best_epoch = result.epochs[i].epoch;
  }
  CHECK(best > 0.8);
  CHECK(lines.back().at("train_loss").get<double>() < lines.front().at("train_loss").get<double>());
  const SafetensorsFile kept = SafetensorsFile::open(best_model_path(model));
  CHECK(kept.metadata().at("epoch") == std::to_string(best_epoch));
  CHECK(kept.metadata().at("network") == "small");
  CHECK(SafetensorsFile::open(model).metadata().at("epoch") == "8");

  const auto network = small_network();
  load_module(*network, kept);
  Quarters test(2);
  CHECK(evaluate(*network, test).accuracy == best);
  CHECK(network->training());
}

TEST_CASE("training: a loss that is not finite stops the run and keeps the last good checkpoint") {
  const ScratchFolder folder;
  const auto model = folder / "model.safetensors";
  const std::string message = error_of([&] { run(model, {.poison_after = 4}); });
  CHECK(contains(message, "loss became nan"));
  CHECK(contains(message, "epoch 2"));
  CHECK(contains(message, "step 5 of 6"));
  CHECK(contains(message, checkpoint_path(model).string()));
  CHECK_FALSE(std::filesystem::exists(model));
  CHECK(metrics_in(model).size() == 1);

  // The same run without the bad picture goes on from there.
  CHECK(run(model, {.resume = true}).finished);
  const auto clean = folder / "clean";
  std::filesystem::create_directory(clean);
  run(clean / "model.safetensors", {});
  check_same_results(model, clean / "model.safetensors");
}

TEST_CASE("training: a rate that blows the weights up writes no model") {
  for (const bool adam : {false, true}) {
    const ScratchFolder folder;
    const auto model = folder / "model.safetensors";
    const std::string message = error_of([&] { run(model, {.adam = adam, .rate = 1e38}); });
    CAPTURE(message);
    CHECK((contains(message, "loss became") || contains(message, "not finite")));
    CHECK_FALSE(std::filesystem::exists(model));
    CHECK_FALSE(std::filesystem::exists(best_model_path(model)));
    CHECK_FALSE(std::filesystem::exists(checkpoint_path(model)));
  }
}

TEST_CASE("training: a test loss that is not finite writes no model") {
  // One step of a huge rate: weights are finite still, what they compute is not.
  const ScratchFolder folder;
  const auto model = folder / "model.safetensors";
  const auto network = small_network();
  Sgd optimizer(network->parameters(), {});
  Quarters batches(1, 1), test(2);
  TrainingPlan plan;
  plan.epochs = 1;
  plan.learning_rate = 1e30;
  plan.schedule = constant_schedule();
  plan.model_path = model;
  const std::string message =
      error_of([&] { train(*network, optimizer, batches, &test, nullptr, plan, {}); });
  CAPTURE(message);
  CHECK(contains(message, "the test loss became"));
  CHECK_FALSE(std::filesystem::exists(model));
  CHECK_FALSE(std::filesystem::exists(best_model_path(model)));
}

TEST_CASE("training: checkpoints of another run, and files that are none, are refused") {
  const ScratchFolder folder;
  const auto model = folder / "model.safetensors";
  run(model, {.stop_after = 2});
  const auto checkpoint = read_file(checkpoint_path(model));
  const std::string message = error_of([&] { run(model, {.resume = true, .fingerprint = "seed 2"}); });
  CHECK(contains(message, "checkpoint of another run"));
  CHECK(contains(message, "seed 2"));
  CHECK(contains(message, "a test run"));
  CHECK(contains(error_of([&] { run(model, {.resume = true, .adam = true}); }), "moment"));
  CHECK(read_file(checkpoint_path(model)) == checkpoint);

  // Cut short at any of these places, it says so and nothing is lost.
  const std::string whole = read_text_file(checkpoint_path(model));
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    CAPTURE(size);
    dw::test::write_quickly(checkpoint_path(model), whole.substr(0, size));
    CHECK(contains(error_of([&] { run(model, {.resume = true}); }), checkpoint_path(model).string()));
  }
  save_tensors(checkpoint_path(model), {}, small_network()->state());
  CHECK(contains(error_of([&] { run(model, {.resume = true}); }), "not a training checkpoint"));
  CHECK_FALSE(std::filesystem::exists(model));
}

TEST_CASE("training: resuming a finished run changes nothing") {
  const ScratchFolder folder;
  const auto model = folder / "model.safetensors";
  run(model, {});
  const auto before = read_file(model);
  const TrainingResult again = run(model, {.resume = true});
  CHECK(again.finished);
  CHECK(again.epochs.size() == 2);
  CHECK(read_file(model) == before);
}

TEST_CASE("training: without a checkpoint, resume starts from the beginning") {
  const ScratchFolder folder;
  for (const std::string name : {"a", "b"}) std::filesystem::create_directory(folder / name);
  run(folder / "a" / "model.safetensors", {});
  run(folder / "b" / "model.safetensors", {.resume = true});
  check_same_results(folder / "a" / "model.safetensors", folder / "b" / "model.safetensors");
}
