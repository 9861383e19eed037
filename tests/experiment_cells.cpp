// Experiments: what is finished is never computed again, what was cut goes on, and different requests stay
// apart.
#include <doctest/doctest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <set>

#include "core/files.h"
#include "experiments/experiment.h"
#include "experiments/experiment_output.h"
#include "experiments/progress.h"
#include "tests/installation.h"
#include "tests/watermark_ownership_support.h"

using namespace dw;
using dw::test::contains;
using dw::test::error_of;
using dw::test::ScratchFolder;

namespace {

namespace fs = std::filesystem;

ExperimentContext::Options options_in(const ScratchFolder& folder) {
  set_progress_quiet(true);
  ExperimentContext::Options options;
  options.out = folder / "out";
  options.data = "synthetic:train=48,test=16";
  options.other = "synthetic:train=32,test=16,seed=9";
  return options;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  if (fs::exists(folder))
    for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

}  // namespace

TEST_CASE("experiment: a cell is computed once, in this run and in later ones") {
  const ScratchFolder folder;
  int calls = 0;
  const auto work = [&]() -> Json {
    ++calls;
    return {{"value", 0.1}, {"calls", calls}};
  };
  {
    ExperimentContext context("trial", options_in(folder));
    CHECK(context.cell("first", work)["value"] == 0.1);
    CHECK(context.cell("first", work)["calls"] == 1);
    CHECK(context.cells().size() == 1);
    CHECK(!context.cells()[0].recalled);
  }
  ExperimentContext again("trial", options_in(folder));
  CHECK(again.cell("first", work)["calls"] == 1);
  CHECK(again.cells().at(0).recalled);
  CHECK(calls == 1);
  const Json stored = Json::parse(read_text_file(again.cells()[0].file));
  CHECK(stored["name"] == "first");
  for (const char* field : {"seconds", "commit", "date", "environment", "decided_by"})
    CHECK(stored.contains(field));
}

TEST_CASE("experiment: another name, seed, data set, preset or experiment is another cell") {
  const ScratchFolder folder;
  int calls = 0;
  const auto work = [&]() -> Json { return ++calls; };
  const ExperimentContext::Options options = options_in(folder);
  CHECK(ExperimentContext("trial", options).cell("first", work) == 1);
  CHECK(ExperimentContext("trial", options).cell("First", work) == 2);  // the same slug
  CHECK(ExperimentContext("another", options).cell("first", work) == 3);
  ExperimentContext::Options changed = options;
  changed.seed = 2;
  CHECK(ExperimentContext("trial", changed).cell("first", work) == 4);
  changed = options;
  changed.data = "synthetic:train=48,test=16,seed=7";
  CHECK(ExperimentContext("trial", changed).cell("first", work) == 5);
  changed = options;
  changed.preset = Preset::quick;
  CHECK(ExperimentContext("trial", changed).cell("first", work) == 6);
  CHECK(ExperimentContext("trial", options).cell("first", work) == 1);
}

TEST_CASE("experiment: only a cell that read the other data set depends on it") {
  const ScratchFolder folder;
  const auto counts = [&](const ExperimentContext::Options& options, const std::string& name,
                          bool reads_other) {
    int calls = 0;
    ExperimentContext context("trial", options);
    context.cell(name, [&]() -> Json {
      ++calls;
      return reads_other ? context.other_data().test.size() : 0;
    });
    return calls;
  };
  const ExperimentContext::Options options = options_in(folder);
  ExperimentContext::Options changed = options;
  changed.other = "synthetic:train=32,test=16,seed=10";
  CHECK(counts(options, "without", false) == 1);
  CHECK(counts(options, "with", true) == 1);
  CHECK(counts(options, "with", true) == 0);
  CHECK(counts(changed, "without", false) == 0);
  CHECK(counts(changed, "with", true) == 1);
}

TEST_CASE("experiment: a cell that fails leaves nothing behind and is tried again") {
  const ScratchFolder folder;
  ExperimentContext context("trial", options_in(folder));
  CHECK(contains(error_of([&] { context.cell("first", []() -> Json { fail("no luck"); }); }), "no luck"));
  CHECK(files_in(context.folder() / "cells").empty());
  CHECK(context.cell("first", []() -> Json { return 1; }) == 1);
}

TEST_CASE("experiment: a broken cell is an error that names its file") {
  const ScratchFolder folder;
  {
    ExperimentContext context("trial", options_in(folder));
    context.cell("first", []() -> Json { return 1; });
  }
  const fs::path cell = files_in(folder / "out" / "trial" / "cells").at(0);
  const std::string whole = read_text_file(cell);
  for (const std::string& content : {std::string(), whole.substr(0, whole.size() / 2), std::string("[]")}) {
    write_file_atomically(cell, content);
    ExperimentContext context("trial", options_in(folder));
    const std::string error = error_of([&] { context.cell("first", []() -> Json { return 1; }); });
    CHECK_MESSAGE(contains(error, cell.string()), error);
    CHECK(contains(error, "delete it"));
  }
  Json other = Json::parse(whole);
  other["name"] = "second";
  write_file_atomically(cell, other.dump());
  ExperimentContext context("trial", options_in(folder));
  CHECK(contains(error_of([&] { context.cell("first", []() -> Json { return 1; }); }), "second"));
}

TEST_CASE("experiment: networks are trained once; equal requests are one, different ones are not") {
  const ScratchFolder folder;
  const ExperimentContext::Options options = options_in(folder);
  ExperimentContext context("trial", options);
  const NetworkRequest request{.scheme = "deepwater", .seed = 3};
  const TrainedFile first = context.network(request);
  const fs::file_time_type written = fs::last_write_time(first.model);
  ExperimentContext later("another", options);
  const TrainedFile second = later.network(request);
  CHECK(second.model == first.model);
  CHECK(second.accuracy == first.accuracy);
  CHECK(fs::last_write_time(first.model) == written);
  CHECK(!fs::exists(checkpoint_path(first.model)));
  std::set<fs::path> models{first.model};
  NetworkRequest other = request;
  other.seed = 4;
  models.insert(later.network(other).model);
  other = request;
  other.options.values["lambda"] = "0.1";
  models.insert(later.network(other).model);
  other = request;
  other.scheme = "";
  models.insert(later.network(other).model);
  CHECK(models.size() == 4);
}

TEST_CASE("experiment: a network that was cut goes on to the same bits") {
  const ScratchFolder cut, whole;
  const NetworkRequest request{.seed = 5};
  const auto several_steps = [](const ScratchFolder& folder) {
    ExperimentContext::Options options = options_in(folder);
    options.data = "synthetic:train=160,test=16";
    return options;
  };
  const std::string expected =
      read_text_file(ExperimentContext("trial", several_steps(whole)).network(request).model);
  const ExperimentContext::Options options = several_steps(cut);
  {
    const CatchInterrupts interrupts;
    std::raise(SIGINT);
    ExperimentContext context("trial", options);
    CHECK_THROWS_AS(context.network(request), Interrupted);
    int calls = 0;
    CHECK_THROWS_AS(context.cell("new", [&]() -> Json { return ++calls; }), Interrupted);
    CHECK(calls == 0);
  }
  bool has_checkpoint = false;
  for (const auto& entry : fs::recursive_directory_iterator(options.out))
    has_checkpoint = has_checkpoint || entry.path().filename() == "model.checkpoint.safetensors";
  CHECK(has_checkpoint);
  const CatchInterrupts interrupts;
  CHECK(read_text_file(ExperimentContext("trial", options).network(request).model) == expected);
}

TEST_CASE("experiment: an attack's cell holds accuracy and the reading of the mark") {
  const ScratchFolder folder;
  ExperimentContext context("trial", options_in(folder));
  const NetworkRequest request{.scheme = "deepwater"};
  const Json as_it_is = context.attacked(request, "");
  const Json pruned = context.attacked(request, "prune:0.99");
  for (const Json& cell : {as_it_is, pruned}) {
    CHECK(cell["bits"] == 256);
    CHECK(cell["accuracy"].get<double>() >= 0);
  }
  CHECK(pruned["errors"].get<int>() > as_it_is["errors"].get<int>());
  CHECK(pruned["log2_p"].get<double>() > as_it_is["log2_p"].get<double>());
  CHECK(!context.attacked({}, "prune:0.5").contains("errors"));
  CHECK(context.cells().size() == 3);
}

TEST_CASE("experiment: without data the mark is embedded by moving weights, and the host stays") {
  const ScratchFolder folder;
  ExperimentContext context("trial", options_in(folder));
  NetworkRequest request{.scheme = "deepwater"};
  request.situation = Situation::data_free;
  request.host = {NetworkRequest{}};
  const std::string before = read_text_file(context.network(request.host[0]).model);
  const Json reading = context.attacked(request, "");
  CHECK(reading["errors"] == 0);
  CHECK(read_text_file(context.network(request.host[0]).model) == before);
}

TEST_CASE("experiment: what a preset needs and was not given is said") {
  const ScratchFolder folder;
  ExperimentContext::Options options = options_in(folder);
  options.preset = Preset::quick;
  options.data.clear();
  CHECK(contains(error_of([&] { ExperimentContext("trial", options); }), "--data"));
  options = options_in(folder);
  options.preset = Preset::quick;
  options.other.clear();
  ExperimentContext context("trial", options);
  CHECK(contains(error_of([&] { context.other(); }), "--other"));
  options.out.clear();
  CHECK(contains(error_of([&] { ExperimentContext("trial", options); }), "--out"));
  CHECK(contains(error_of([] { parse_preset("huge"); }), "smoke, quick and paper"));
}

TEST_CASE("experiment: names are unique and every study is listed") {
  std::set<std::string> names;
  for (const Experiment& experiment : experiments()) {
    CHECK(names.insert(experiment.name).second);
    CHECK(!experiment.title.empty());
    CHECK(!experiment.question.empty());
    CHECK(&experiment_named(experiment.name) == &experiment);
  }
  const auto sources = test::source_folder("experiments/studies");
  if (!sources) return;
  for (const fs::path& file : files_in(*sources)) {
    const std::string stem = file.stem().string();
    if (file.extension() != ".cpp" || !contains(read_text_file(file), "Experiment " + stem + "_experiment()"))
      continue;
    std::string name = stem;
    for (char& c : name) c = c == '_' ? '-' : c;
    CHECK_MESSAGE(names.contains(name), name);
  }
  CHECK(contains(error_of([] { experiment_named("nothing"); }), "from-scratch"));
}
