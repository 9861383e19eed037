// What experiments leave behind: CSV, JSON, and a report that needs nothing else.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "core/files.h"
#include "experiments/progress.h"
#include "experiments/reproduce.h"
#include "experiments/text.h"
#include "tests/watermark_ownership_support.h"

using namespace dw;
using dw::test::contains;
using dw::test::error_of;
using dw::test::ScratchFolder;

namespace {

ExperimentContext::Options options_in(const ScratchFolder& folder) {
  set_progress_quiet(true);
  ExperimentContext::Options options;
  options.out = folder / "out";
  options.data = "synthetic:train=48,test=16";
  return options;
}

}  // namespace

TEST_CASE("experiment: CSV quotes what must be quoted") {
  Table table({"name", "a, b"});
  table.add_row({"plain", "says \"no\""});
  table.add_row({"", "two\nlines"});
  CHECK(csv_of(table) == "name,\"a, b\"\nplain,\"says \"\"no\"\"\"\n,\"two\nlines\"\n");
}

TEST_CASE("experiment: slugs are file names, and work of one slug has two") {
  CHECK(slug_of("Pruning: 90 %, seed 1") == "pruning-90-seed-1");
  CHECK(slug_of("../..") == "work");
  CHECK(slug_of(std::string(300, 'x')).size() == 80);
  CHECK(unique_slug("a b", "x") != unique_slug("a  b", "x"));
  CHECK(unique_slug("a", "x") != unique_slug("a", "y"));
}

TEST_CASE("experiment: a reproduction writes a report that needs no network and hides no goal") {
  const ScratchFolder folder;
  const Reproduction first = reproduce(options_in(folder), {"from-scratch", "fine-tune-to-embed"});
  CHECK(first.complete());
  const std::string html = read_text_file(folder / "out" / "report.html");
  CHECK(!std::regex_search(html, std::regex("https?://|@import|url\\(|<script|<link")));
  CHECK(!std::regex_search(html, std::regex("(src|href)=\"(?!#|data:)")));
  const Json json = Json::parse(read_text_file(folder / "out" / "result.json"));
  size_t goals = 0;
  for (const ExperimentRun& run : first.runs) {
    for (const Goal& goal : run.findings.goals) {
      ++goals;
      CHECK(contains(html, escape_markup(goal.statement)));
    }
  }
  CHECK(goals > 0);
  CHECK(json["goals"] == goals);
  CHECK(json["experiments"].size() == 2);
  CHECK(json["work_seconds"].get<double>() > 0);
  // No folder of this machine gets into what is published.
  CHECK(!contains(html, (folder / ".").parent_path().string()));
  CHECK(!contains(json.dump(), (folder / ".").parent_path().string()));

  const Reproduction second = reproduce(options_in(folder), {"from-scratch", "fine-tune-to-embed"});
  for (const ExperimentRun& run : second.runs)
    for (const WorkRecord& cell : run.cells) CHECK(cell.recalled);
  for (const WorkRecord& network : second.workspace->networks()) CHECK(network.recalled);
  CHECK(second.work_seconds() == doctest::Approx(first.work_seconds()));
}

TEST_CASE("experiment: one that fails is shown as such, and the others go on") {
  const ScratchFolder folder;
  const ExperimentContext::Options options = options_in(folder);
  reproduce(options, {"from-scratch"});
  for (const auto& entry : std::filesystem::directory_iterator(folder / "out" / "from-scratch" / "cells"))
    write_file_atomically(entry.path(), "{}");
  const Reproduction broken = reproduce(options, {"from-scratch", "fine-tune-to-embed"});
  CHECK(!broken.complete());
  CHECK(contains(broken.runs.at(0).failure, "delete it"));
  CHECK(broken.runs.at(1).failure.empty());
  CHECK(contains(read_text_file(folder / "out" / "report.html"), "Not finished"));
}

TEST_CASE("experiment: a name that is not known is refused before anything is computed") {
  const ScratchFolder folder;
  CHECK(contains(error_of([&] { reproduce(options_in(folder), {"from-scratch", "nothing"}); }), "not known"));
  CHECK(!std::filesystem::exists(folder / "out"));
}
