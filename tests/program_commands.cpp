// The subcommands as a person or a script meets them: help, results as JSON, exit codes, files.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include "tests/program_fixture.h"

using namespace dw;
using namespace dw::test;

namespace {

bool has_keys(const nlohmann::json& object, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    CAPTURE(key);
    CHECK(object.contains(key));
  }
  return true;
}

}  // namespace

TEST_CASE("program: every subcommand teaches by example") {
  const std::vector<std::vector<std::string>> commands{
      {"keygen"}, {"train"},        {"embed"},        {"prune"},          {"attack"},    {"eval"},
      {"verify"}, {"inspect"},      {"triggers"},     {"predict"},        {"reproduce"}, {"demo"},
      {"bench"},  {"data", "list"}, {"data", "show"}, {"data", "convert"}};
  const std::string overview = output_of({"--help"});
  CHECK(contains(overview, "A first session"));
  for (std::vector<std::string> command : commands) {
    CAPTURE(command.back());
    CHECK(contains(overview, command[0]));
    std::string words = "deepwater";
    for (const std::string& word : command) words += " " + word;
    command.emplace_back("--help");
    const std::string help = output_of(command);
    const bool example = contains(help, "Example") || command[0] == "data";
    CHECK(example);
    if (command[1] != "list") CHECK_MESSAGE(contains(help, "  " + words), help);
    for (const std::string option : {"--seed", "--device", "--threads", "--json"})
      CHECK(contains(help, option));
  }
  CHECK(output_of({"--version"}).starts_with("deepwater "));
}

TEST_CASE("program: verify says OWNED with exit code 0 and NOT PROVEN with 3") {
  const Evidence evidence;
  const nlohmann::json owned = json_of(evidence.verify("marked.safetensors"));
  has_keys(owned,
           {"verdict", "bits", "matches", "ber", "log2_p", "null_matches_mean", "null_keys", "model_digest"});
  CHECK(owned.at("verdict") == "OWNED");
  CHECK(owned.at("bits") == 256);
  CHECK(owned.at("matches").get<int>() > 240);
  CHECK(owned.at("ber").get<double>() == doctest::Approx(1 - owned.at("matches").get<int>() / 256.0));
  CHECK(owned.at("log2_p").get<double>() < -128);
  CHECK(owned.at("null_keys") == 50);
  CHECK(owned.at("null_matches_mean").get<double>() == doctest::Approx(128).epsilon(0.05));
  CHECK(owned.at("model_digest").get<std::string>().size() == 64);

  const nlohmann::json unmarked = json_of(evidence.verify("unmarked.safetensors"), 3);
  CHECK(unmarked.at("verdict") == "NOT PROVEN");
  CHECK(unmarked.at("model_digest") != owned.at("model_digest"));
  // A stranger with a claim of his own, and one who presents his key with the owner's claim.
  CHECK(json_of(evidence.verify("marked.safetensors", "stranger.claim.json", "stranger.key"), 3)
            .at("verdict") == "NOT PROVEN");
  CHECK(json_of(evidence.verify("marked.safetensors", "owner.claim.json", "stranger.key"), 3).at("verdict") ==
        "NOT PROVEN");

  CHECK(output_of(evidence.verify("marked.safetensors")).starts_with("OWNED"));
  CHECK(output_of(evidence.verify("unmarked.safetensors"), 3).starts_with("NOT PROVEN"));
}

TEST_CASE("program: a pruned copy is OWNED and says how many weights are zero") {
  const Evidence evidence;
  for (const std::string fraction : {"0.65", "0.9"}) {
    const nlohmann::json report =
        json_of({"prune", "--fraction", fraction, evidence.at("marked.safetensors"), evidence.at("pruned")});
    CHECK(report.at("fraction").get<double>() == doctest::Approx(std::stod(fraction)).epsilon(1e-3));
    CHECK(report.at("weights") == 76288);
    has_keys(report, {"model", "zeros", "scope"});
    CHECK(json_of(evidence.verify("pruned")).at("verdict") == "OWNED");
  }
}

TEST_CASE("program: a transformed copy is OWNED once it is aligned to the original") {
  const ScratchFolder folder;
  const auto at = [&](const std::string& name) { return (folder / name).string(); };
  const nlohmann::json key =
      json_of({"keygen", "--owner", "Ada Lovelace", "--bits", "128", "--out", at("owner.key")});
  const std::string original = at("original.safetensors"), moved = at("a/new/folder/moved.safetensors");
  // The mark is there from the start; one small step leaves it so.
  json_of({"train", "--net", "wrn-10-1", "--data", "synthetic:train=64,test=32", "--epochs", "1", "--lr",
           "0.001", "--key", at("owner.key"), "--strength", "7", "--option", "start=marked", "--out",
           original});
  json_of({"attack", "permute,rescale,flip,dummy", original, moved});
  const auto verify = [&](const std::string& model) {
    return std::vector<std::string>{"verify", "--claim", key.at("claim"), "--key", at("owner.key"), model};
  };
  const double alone = json_of(verify(original)).at("log2_p");
  Program plain(verify(moved));
  CHECK(plain.wait() != 0);
  std::vector<std::string> aligned = verify(moved);
  aligned.insert(aligned.end(), {"--align-to", original});
  const nlohmann::json verdict = json_of(aligned);
  CHECK(verdict.at("verdict") == "OWNED");
  CHECK(verdict.at("ber").get<double>() == 0);
  // Alignments are alternatives, and charged.
  CHECK(verdict.at("alternatives").get<double>() > 1);
  CHECK(verdict.at("log2_p").get<double>() > alone);
}

TEST_CASE("program: keygen writes a private key and a claim, and never overwrites either") {
  const ScratchFolder folder;
  const std::string key = (folder / "deep" / "owner.key").string();
  const nlohmann::json made = json_of({"keygen", "--owner", "Ada Lovelace", "--bits", "128", "--out", key});
  CHECK(made.at("key") == key);
  CHECK(made.at("claim") == (folder / "deep" / "owner.claim.json").string());
  CHECK(made.at("owner") == "Ada Lovelace");
  CHECK(made.at("bits") == 128);
  CHECK(made.at("commitment").get<std::string>().size() == 64);
  struct stat status {};
  REQUIRE(::stat(key.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(load_claim(folder / "deep" / "owner.claim.json").marks.empty());
  CHECK(!contains(output_of({"keygen", "--owner", "x", "--out", (folder / "b.key").string()}), "master"));

  check_refused(folder, {"keygen", "--owner", "Eve", "--out", key}, 1, "never overwritten");
  std::filesystem::remove(key);
  check_refused(folder, {"keygen", "--owner", "Eve", "--out", key}, 1, "never overwritten");
}

TEST_CASE("program: inspect and data describe what they read as one JSON object") {
  const Evidence evidence;
  const nlohmann::json model = json_of({"inspect", evidence.at("marked.safetensors")});
  CHECK(model.at("values") == 76288);
  CHECK(model.at("layers").size() == 8);
  has_keys(model.at("layers")[0], {"name", "dtype", "shape", "count", "zeros", "scale", "kurtosis"});
  CHECK(model.at("layers")[0].at("kurtosis").get<double>() == doctest::Approx(3).epsilon(0.2));
  CHECK(output_of({"inspect", evidence.at("marked.safetensors")}).find("block1.layer.0.conv1.weight") !=
        std::string::npos);

  const nlohmann::json list = json_of({"data", "list"});
  CHECK(list.at("readers")[0].at("name") == "synthetic");
  const std::string spec = "synthetic:train=40,test=20";
  CHECK(!json_of({"data", "show", spec, "--out", evidence.at("sheet.png")}).empty());
  CHECK(read_text_file(evidence.folder / "sheet.png").substr(1, 3) == "PNG");
  for (const std::string format : {"cifar10", "folder"}) {
    const std::string out = evidence.at(format);
    const nlohmann::json report = json_of({"data", "convert", spec, "--format", format, "--out", out});
    CHECK(report.at("train") == 40);
    CHECK(report.at("test") == 20);
    CHECK(json_of({"data", "show", out}).size() > 3);
  }
}
