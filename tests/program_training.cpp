// Training through the program: killed, interrupted and resumed runs end with the same bytes, runs that
// diverge keep what was good, and a key leaves its mark in the model and in the claim.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "tests/program_fixture.h"

using namespace dw;
using namespace dw::test;

namespace {

class Runs {
 public:
  std::vector<std::string> arguments(const std::string& name, const std::vector<std::string>& more = {},
                                     int epochs = 2) const {
    std::vector<std::string> list{"train",
                                  "--net",
                                  "wrn-10-1",
                                  "--data",
                                  "synthetic:train=384,test=32",
                                  "--batch",
                                  "16",
                                  "--epochs",
                                  std::to_string(epochs),
                                  "--quiet",
                                  "--seed",
                                  "3",
                                  "--device",
                                  "cpu",
                                  "--threads",
                                  "2",
                                  "--out",
                                  model(name).string()};
    list.insert(list.end(), more.begin(), more.end());
    return list;
  }
  fs::path model(const std::string& name) const { return folder / name / "model.safetensors"; }
  fs::path checkpoint(const std::string& name) const {
    return folder / name / "model.checkpoint.safetensors";
  }

  ScratchFolder folder;
};

// Until the first epoch is saved; false if the program ended before.
bool wait_for(Program& program, const fs::path& path) {
  while (!fs::exists(path)) {
    if (!program.running()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::istringstream text(read_text_file(path));
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE(
    "program: a run that is killed or interrupted in its second epoch and resumed gives the same bytes") {
  const Runs runs;
  output_of(runs.arguments("straight"));
  const std::vector<std::byte> expected = read_file(runs.model("straight"));

  Program killed(runs.arguments("killed"));
  REQUIRE(wait_for(killed, runs.checkpoint("killed")));
  killed.signal(SIGKILL);
  CHECK(killed.wait() == -SIGKILL);
  CHECK_FALSE(fs::exists(runs.model("killed")));

  Program interrupted(runs.arguments("interrupted"));
  REQUIRE(wait_for(interrupted, runs.checkpoint("interrupted")));
  interrupted.signal(SIGINT);
  CHECK(interrupted.wait() == 130);
  CHECK(contains(interrupted.err(), "--resume"));
  CHECK(interrupted.out().empty());
  CHECK_FALSE(fs::exists(runs.model("interrupted")));

  for (const std::string name : {"killed", "interrupted"}) {
    CAPTURE(name);
    output_of(runs.arguments(name, {"--resume"}));
    CHECK(read_file(runs.model(name)) == expected);
    CHECK(lines_of(runs.folder / name / "metrics.jsonl").size() == 2);
  }
  CHECK(names_in(runs.folder / "interrupted") == names_in(runs.folder / "straight"));
}

TEST_CASE("program: a run whose loss is no longer a number says so, exits with 1 and writes no model") {
  const Runs runs;
  fs::create_directory(runs.folder / "wild");
  check_refused(runs.folder, runs.arguments("wild", {"--lr", "1e30"}), 1, "training stopped");

  // After a good epoch its checkpoint stays.
  Program good(runs.arguments("late"));
  REQUIRE(wait_for(good, runs.checkpoint("late")));
  good.signal(SIGINT);
  good.wait();
  check_refused(runs.folder, runs.arguments("late", {"--lr", "1e30"}), 1, "training stopped");
  output_of(runs.arguments("late", {"--resume"}));
}

TEST_CASE("program: a checkpoint of another run is refused") {
  const Runs runs;
  const std::string key = (runs.folder / "owner.key").string(), other = (runs.folder / "other.key").string();
  output_of({"keygen", "--owner", "Ada", "--bits", "128", "--out", key});
  output_of({"keygen", "--owner", "Ada", "--bits", "128", "--out", other});
  Program program(runs.arguments("a", {"--key", key, "--strength", "7"}));
  REQUIRE(wait_for(program, runs.checkpoint("a")));
  program.signal(SIGINT);
  CHECK(program.wait() == 130);
  const auto refused = [&](const std::vector<std::string>& more) {
    // The claim of a key that takes part receives its mark before the checkpoint is read.
    Program resumed(runs.arguments("a", more));
    CHECK(resumed.wait() == 1);
    CHECK_MESSAGE(contains(resumed.err(), "checkpoint of another run"), resumed.err());
    CHECK(resumed.out().empty());
    CHECK_FALSE(fs::exists(runs.model("a")));
  };
  const std::string before = read_text_file(runs.checkpoint("a"));
  refused({"--resume"});
  refused({"--resume", "--key", key, "--strength", "7", "--lr", "0.2"});
  refused({"--resume", "--key", key, "--strength", "6"});
  refused({"--resume", "--key", key, "--strength", "7", "--layers", "block3.layer.0.conv2.weight"});
  refused({"--resume", "--key", other, "--strength", "7"});
  CHECK(read_text_file(runs.checkpoint("a")) == before);
  output_of(runs.arguments("a", {"--resume", "--key", key, "--strength", "7"}));
}

TEST_CASE("program: training with a key marks the model and signs it into the claim") {
  const Runs runs;
  const std::string key = (runs.folder / "owner.key").string(),
                    claim = (runs.folder / "owner.claim.json").string();
  output_of({"keygen", "--owner", "Ada", "--bits", "128", "--out", key});
  const std::string model = runs.model("marked").string();
  const nlohmann::json result = nlohmann::json::parse(
      output_of(runs.arguments("marked", {"--key", key, "--strength", "7", "--json"}, 6)));
  for (const std::string name : {"model", "network", "epochs", "test_accuracy", "test_loss", "train_loss"})
    CHECK(result.contains(name));
  CHECK(result.at("epochs") == 6);
  CHECK(result.at("mark").at("bits") == 128);
  CHECK(result.at("mark").at("layers") == 8);
  const std::vector<std::string> metrics = lines_of(runs.folder / "marked" / "metrics.jsonl");
  CHECK(metrics.size() == 6);
  CHECK(nlohmann::json::parse(metrics.back()).at("mark_loss").get<double>() > 0);

  const Claim signed_claim = load_claim(claim);
  REQUIRE(signed_claim.marks.size() == 1);
  CHECK(signed_claim.marks[0].mark.network == "wrn-10-1");
  CHECK(signed_claim.marks[0].mark.strength == 7);

  const auto verify = [&](const std::string& path, int exit_code) {
    return json_of({"verify", "--claim", claim, "--key", key, path, "--null-keys", "50"}, exit_code);
  };
  const nlohmann::json verdict = verify(model, 0);
  CAPTURE(verdict.dump());
  CHECK(verdict.at("verdict") == "OWNED");
  const std::string pruned = (runs.folder / "pruned.safetensors").string();
  output_of({"prune", "--fraction", "0.65", model, pruned});
  CHECK(verify(pruned, 0).at("verdict") == "OWNED");
  const nlohmann::json score = json_of({"eval", pruned, "--data", "synthetic:train=32,test=32"});
  CHECK(score.at("images") == 32);
  CHECK(score.at("accuracy").get<double>() >= 0);

  output_of(runs.arguments("plain"));
  CHECK(verify(runs.model("plain").string(), 3).at("verdict") == "NOT PROVEN");
}
