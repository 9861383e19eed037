// Schemes through the program: marked by another scheme, read from weights; and a trigger set, from training
// to the verdict on answers alone.
#include "tests/program_fixture.h"

using namespace dw;
using namespace dw::test;

namespace {

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

TEST_CASE("program: a trigger set is taught, asked for and judged by answers alone") {
  const ScratchFolder folder;
  const auto at = [&](const std::string& name) { return (folder / name).string(); };
  output_of({"keygen", "--owner", "Ada", "--bits", "64", "--out", at("owner.key")});
  const nlohmann::json trained = json_of({"train",
                                          "--net",
                                          "mlp",
                                          "--data",
                                          "synthetic:train=64,test=32",
                                          "--epochs",
                                          "12",
                                          "--batch",
                                          "16",
                                          "--lr",
                                          "0.02",
                                          "--key",
                                          at("owner.key"),
                                          "--scheme",
                                          "trigger-set",
                                          "--option",
                                          "triggers=30",
                                          "--option",
                                          "per-batch=15",
                                          "--out",
                                          at("model.safetensors")});
  CHECK(trained.at("mark").at("scheme") == "trigger-set");
  CHECK(trained.at("mark").at("parameters").at("triggers") == 30);
  const std::vector<std::string> owner{"--claim", at("owner.claim.json"), "--key", at("owner.key")};
  CHECK(json_of(with({"triggers", "--out", at("triggers")}, owner)).at("pictures") == 30);
  output_of({"predict", at("model.safetensors"), "--pictures", at("triggers"), "--out", at("answers.csv")});
  const nlohmann::json verdict = json_of(with({"verify", "--predictions", at("answers.csv")}, owner));
  CHECK(verdict.at("verdict") == "OWNED");
  CHECK(verdict.at("scheme") == "trigger-set");
  CHECK(verdict.at("bits") == 30);
  CHECK(verdict.at("chance") == 0.1);

  const auto refused = [&](const std::vector<std::string>& arguments, int exit_code, const std::string& why) {
    check_refused(folder, arguments, exit_code, why);
  };
  constexpr int usage = 2, failure = 1;
  refused(with({"verify"}, owner), usage, "--predictions");
  refused(with({"verify", at("model.safetensors"), "--predictions", at("answers.csv")}, owner), usage,
          "one of the two");
  refused(with({"verify", at("model.safetensors")}, owner), failure, "read from predictions");
  refused(with({"triggers", "--out", at("triggers")}, owner), failure, "not an empty folder");
  refused({"predict", at("model.safetensors"), "--pictures", at("none"), "--out", at("o.csv")}, failure,
          "none");
}

TEST_CASE("program: train names the schemes and refuses what they cannot do") {
  const ScratchFolder folder;
  const auto at = [&](const std::string& name) { return (folder / name).string(); };
  output_of({"keygen", "--owner", "Ada", "--out", at("owner.key")});
  const std::string help = output_of({"train", "--help"});
  for (const char* name : {"deepwater", "uchida", "neuralmark", "greedy-residual", "trigger-set"})
    CHECK(contains(help, name));
  const auto refused = [&](const std::vector<std::string>& more, const std::string& why) {
    constexpr int usage = 2;
    check_refused(folder,
                  with({"train", "--net", "wrn-10-1", "--data", "synthetic:train=64,test=32", "--quiet",
                        "--out", at("out/model.safetensors")},
                       more),
                  usage, why);
  };
  refused({"--key", at("owner.key"), "--scheme", "rot13"}, "rot13");
  refused({"--scheme", "uchida"}, "--key");
  refused({"--key", at("owner.key"), "--scheme", "uchida", "--option", "colour=7"}, "colour");
  refused({"--key", at("owner.key"), "--scheme", "uchida", "--strength", "7"}, "strength");
  refused({"--key", at("owner.key"), "--option", "match"}, "name=value");
  refused({"--key", at("owner.key"), "--match", "w3"}, "w3");
}
