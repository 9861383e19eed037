// Bad input: each is one clear line and an exit code, and leaves every file as it was.
#include <doctest/doctest.h>

#include <cstdlib>

#include "tests/datasets_support.h"
#include "tests/program_fixture.h"

using namespace dw::test;
using dw::datasets_test::write_png;

namespace {

constexpr int failure = 1, usage = 2;

const std::string pictures = "synthetic:train=32,test=16";

// Arguments of train into the evidence folder, with more at the end.
std::vector<std::string> train(const Evidence& evidence, const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"train", "--quiet", "--out", evidence.at("new.safetensors")};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

void write_classes(const fs::path& folder, const std::vector<std::string>& train,
                   const std::vector<std::string>& test) {
  fs::create_directories(folder / "train");
  fs::create_directories(folder / "test");
  int seed = 0;
  for (const std::string& name : train) write_png(folder / "train" / name / "1.png", 16, 16, 3, ++seed);
  for (const std::string& name : test) write_png(folder / "test" / name / "1.png", 16, 16, 3, ++seed);
}

}  // namespace

TEST_CASE("program: wrong arguments are refused with exit code 2") {
  const Evidence evidence;
  const std::string model = evidence.at("marked.safetensors"), out = evidence.at("new.safetensors");
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& why) {
    check_refused(evidence.folder, arguments, usage, why);
  };
  refused({}, "subcommand");
  refused({"embroider"}, "embroider");
  refused({"data"}, "subcommand");
  refused({"keygen", "--out", out}, "--owner");
  refused({"keygen", "--owner", "Ada"}, "--out");
  refused({"keygen", "--owner", "", "--out", out}, "owner");
  refused({"keygen", "--owner", "Ada", "--out", out, "--bits", "63"}, "63");
  refused({"keygen", "--owner", "Ada", "--out", out, "--bits", "-1"}, "-1");
  refused({"keygen", "--owner", "Ada", "--out", out, "--bits", "many"}, "many");
  refused({"prune", model, out}, "--fraction");
  refused({"prune", model, out, "--fraction", "1"}, "1");
  refused({"prune", model, out, "--fraction", "-0.5"}, "-0.5");
  refused({"prune", model, out, "--fraction", "nan"}, "nan");
  refused({"prune", model, out, "--fraction", "0.5", "--scope", "all"}, "all");
  refused({"prune", model, model, "--fraction", "0.5"}, "another output file");
  refused({"verify", model}, "--claim");
  refused({"verify", "--claim", evidence.at("owner.claim.json"), model}, "--key");
  refused({"eval", model}, "--data");
  refused({"inspect", model, "--threads", "-1"}, "-1");
  refused({"inspect", model, "--seed", "-1"}, "-1");
  refused({"inspect", model, "--colour"}, "--colour");
  refused(train(evidence, {}), "--data");
  refused(train(evidence, {"--data", pictures, "--net", "resnet"}), "resnet");
  refused(train(evidence, {"--data", pictures, "--net", "wrn-11-1"}), "wrn-11-1");
  refused(train(evidence, {"--data", pictures, "--recipe", "long"}), "long");
  refused(train(evidence, {"--data", pictures, "--schedule", "steep"}), "steep");
  refused(train(evidence, {"--data", pictures, "--augment", "mixup"}), "mixup");
  refused(train(evidence, {"--data", pictures, "--device", "tpu"}), "tpu");
  for (const std::string option : {"--epochs", "--batch", "--lr", "--strength", "--lambda", "--limit"}) {
    refused(train(evidence, {"--data", pictures, option, "-3"}), option);
    refused(train(evidence, {"--data", pictures, option, "0"}), option);
  }
  refused(train(evidence, {"--data", pictures, "--weight-decay", "-1"}), "--weight-decay");
}

TEST_CASE("program: missing and truncated models, keys and claims are refused") {
  const Evidence evidence;
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& why) {
    check_refused(evidence.folder, arguments, failure, why);
  };
  refused(evidence.verify("no.safetensors"), "no.safetensors");
  refused(evidence.verify("marked.safetensors", "no.json"), "no.json");
  refused(evidence.verify("marked.safetensors", "owner.claim.json", "no.key"), "no.key");
  refused({"inspect", evidence.at("no.safetensors")}, "no.safetensors");
  refused({"prune", "--fraction", "0.5", evidence.at("no"), evidence.at("out")}, "/no");
  refused({"eval", evidence.at("no"), "--data", pictures}, "/no");
  refused(train(evidence, {"--data", pictures, "--key", evidence.at("no.key")}), "no.key");

  const auto cut = [&](const std::string& name, size_t size) {
    truncate_copy(evidence.folder / name, evidence.folder / "cut", size);
    return "cut";
  };
  const size_t size = fs::file_size(evidence.folder / "marked.safetensors");
  for (const size_t length : {size_t{0}, size_t{7}, size_t{300}, size / 2, size - 1}) {
    CAPTURE(length);
    refused(evidence.verify(cut("marked.safetensors", length)), "cut");
    refused({"inspect", evidence.at("cut")}, "cut");
    refused({"eval", evidence.at("cut"), "--data", pictures}, "cut");
    refused({"prune", "--fraction", "0.5", evidence.at("cut"), evidence.at("out")}, "cut");
  }
  for (const size_t length : {size_t{0}, size_t{40}, size_t{200}}) {
    CAPTURE(length);
    refused(evidence.verify("marked.safetensors", cut("owner.claim.json", length)), "cut");
    refused(evidence.verify("marked.safetensors", "owner.claim.json", cut("owner.key", length)), "cut");
    refused(train(evidence, {"--data", pictures, "--key", evidence.at("cut")}), "cut");
  }
  // A claim that someone has edited.
  std::string claim = dw::read_text_file(evidence.folder / "owner.claim.json");
  claim.replace(claim.find("Lovelace"), 8, "Lovelase");
  write_quickly(evidence.folder / "edited.json", claim);
  refused(evidence.verify("marked.safetensors", "edited.json"), "edited.json");
}

TEST_CASE("program: a model whose layers are not those of the claim is refused") {
  const Evidence evidence;
  check_refused(evidence.folder, evidence.verify("foreign.safetensors"), failure, "layer");
  // A claim that no network was marked with.
  output_of({"keygen", "--owner", "Eve", "--out", evidence.at("eve.key")});
  check_refused(evidence.folder, evidence.verify("marked.safetensors", "eve.claim.json", "eve.key"), failure,
                "mark");
  // Not a model of this program.
  check_refused(evidence.folder, {"eval", evidence.at("marked.safetensors"), "--data", pictures}, failure,
                "classes");
}

TEST_CASE("program: a disk that is full leaves nothing half-written") {
  const Evidence evidence;
  const auto refused = [&](const std::vector<std::string>& arguments, size_t bytes = 2048) {
    check_refused(evidence.folder, arguments, failure, "cannot write", bytes);
  };
  refused({"prune", "--fraction", "0.5", evidence.at("marked.safetensors"), evidence.at("out")});
  refused({"keygen", "--owner", "Eve", "--out", evidence.at("eve.key")}, 100);
  refused({"data", "show", pictures, "--quiet", "--out", evidence.at("sheet.png")});
  refused(train(evidence, {"--data", pictures, "--net", "lenet-5", "--epochs", "1"}));
}

TEST_CASE("program: results that cannot be written to stdout are a failure") {
  const Evidence evidence;
  const std::string command = program_path("deepwater").string() + " inspect " +
                              evidence.at("marked.safetensors") + " > /dev/full 2>/dev/null";
  CHECK(WEXITSTATUS(std::system(command.c_str())) == failure);
}

TEST_CASE("program: data folders without pictures to tell apart are refused") {
  const Evidence evidence;
  const auto refused = [&](const std::string& folder, const std::string& why) {
    CAPTURE(folder);
    check_refused(evidence.folder, train(evidence, {"--data", evidence.at(folder), "--net", "mlp"}), failure,
                  why);
    check_refused(evidence.folder, {"data", "show", "--quiet", evidence.at(folder)}, failure, why);
  };
  refused("nothing", "nothing");
  fs::create_directory(evidence.folder / "empty");
  refused("empty", "empty");
  write_classes(evidence.folder / "none", {}, {});
  refused("none", "none");
  write_classes(evidence.folder / "one", {"cat"}, {"cat"});
  refused("one", "class");
  write_classes(evidence.folder / "different", {"cat", "dog"}, {"cat", "cow"});
  refused("different", "cow");

  write_classes(evidence.folder / "cut", {"cat", "dog"}, {"cat", "dog"});
  const fs::path picture = evidence.folder / "cut" / "train" / "dog" / "1.png";
  truncate_copy(picture, picture, fs::file_size(picture) / 2);
  refused("cut", "dog/1.png");
  truncate_copy(picture, picture, 0);
  refused("cut", "dog/1.png");
}

TEST_CASE("program: a payload too large for the network is refused before anything is written") {
  const Evidence evidence;
  const std::string key = evidence.at("owner.key");
  check_refused(evidence.folder, train(evidence, {"--data", pictures, "--net", "lenet-5", "--key", key}),
                usage, "payload too large");
  check_refused(evidence.folder, train(evidence, {"--data", pictures, "--net", "mlp", "--key", key}), usage,
                "no convolution");
  check_refused(evidence.folder, train(evidence, {"--data", pictures, "--key", key, "--layers", "fc.weight"}),
                usage, "fc.weight");
}

TEST_CASE(
    "program: a model that cannot be written is refused before training and before the claim is signed") {
  const Evidence evidence;
  write_quickly(evidence.folder / "file", "");
  fs::create_directory(evidence.folder / "directory");
  const auto refused = [&](const std::string& out, const std::string& why) {
    check_refused(evidence.folder,
                  {"train", "--quiet", "--data", pictures, "--key", evidence.at("owner.key"), "--out",
                   evidence.at(out)},
                  failure, why);
  };
  refused("file/model.safetensors", "file");
  refused("directory", "is a folder");
  check_refused(evidence.folder, {"keygen", "--owner", "Eve", "--out", evidence.at("file/eve.key")}, failure,
                "file");
  check_refused(evidence.folder,
                {"prune", "--fraction", "0.5", evidence.at("marked.safetensors"), evidence.at("file/out")},
                failure, "file/out");
  // Before its work, not after.
  check_refused(evidence.folder,
                {"attack", "noise:1", evidence.at("marked.safetensors"), evidence.at("file/out")}, failure,
                "file/out");
}
