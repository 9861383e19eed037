// deepwater embed and deepwater reproduce, from the outside.
#include "experiments/workflow.h"
#include "tests/program_support.h"
#include "watermark/model.h"

using namespace dw;
using namespace dw::test;

namespace {

const std::string pictures = "synthetic:train=96,test=32";

/// A folder with plain.safetensors (one epoch on a few pictures) and an owner's key.
class Workshop {
 public:
  Workshop() {
    output_of({"train", "--net", "wrn-10-1", "--data", pictures, "--epochs", "1", "--batch", "48", "--quiet",
               "--out", at("plain.safetensors")});
    output_of({"keygen", "--owner", "Ada Lovelace", "--out", at("owner.key"), "--quiet"});
  }
  std::string at(const std::string& name) const { return (folder / name).string(); }
  /// Arguments of embed, with key and output.
  std::vector<std::string> embed(std::vector<std::string> more) const {
    std::vector<std::string> words{"embed", "--key", at("owner.key"), "--out", at("marked.safetensors")};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  nlohmann::json verify(const std::string& model) const {
    return json_of({"verify", "--claim", at("owner.claim.json"), "--key", at("owner.key"), at(model),
                    "--null-keys", "20"});
  }

  ScratchFolder folder;
};

}  // namespace

TEST_CASE("program: embed without data marks a finished model, which stays as it is") {
  const Workshop work;
  const std::string before = read_text_file(work.at("plain.safetensors"));
  const nlohmann::json result =
      json_of(work.embed({"--model", work.at("plain.safetensors"), "--no-data", "--strength", "7"}));
  CHECK(result["situation"] == "no-data");
  CHECK(result["mark"]["errors"] == 0);
  CHECK(result["moved"].get<double>() > 0);
  CHECK(result["moved"].get<double>() < 1);
  CHECK(result["mark_loss"].get<double>() < result["mark_loss_before"].get<double>());
  CHECK(read_text_file(work.at("plain.safetensors")) == before);
  CHECK(work.verify("marked.safetensors")["verdict"] == "OWNED");
  // Everything but the marked convolutions is what it was.
  const Model plain = read_model(work.at("plain.safetensors")),
              marked = read_model(work.at("marked.safetensors"));
  CHECK(marked.at("conv1.weight").values == plain.at("conv1.weight").values);
  CHECK(marked.at("fc.weight").values == plain.at("fc.weight").values);
  CHECK(marked.at("bn1.running_mean").values == plain.at("bn1.running_mean").values);
  // The largest layers carry it; the others stay to the bit.
  const auto weights = [](const Model& model, const std::string& layer) {
    return model.at(layer + ".weight").values;
  };
  for (const std::string layer : {"block3.layer.0.conv1", "block3.layer.0.conv2"})
    CHECK(weights(marked, layer) != weights(plain, layer));
  for (const std::string layer : {"conv1", "block1.layer.0.conv2", "block2.layer.0.conv2"})
    CHECK(weights(marked, layer) == weights(plain, layer));
  CHECK(marked.metadata.at("mean") == plain.metadata.at("mean"));
}

TEST_CASE("program: embed fine-tunes a finished model from its own weights") {
  const Workshop work;
  const nlohmann::json result =
      json_of(work.embed({"--model", work.at("plain.safetensors"), "--data", pictures, "--epochs", "1",
                          "--rate", "0.000001", "--strength", "7"}));
  CHECK(result["situation"] == "fine-tune");
  CHECK(result["epochs"] == 1);
  CHECK(result["mark"]["bits"] == 256);
  // At such a rate nothing has moved yet: it did start from these weights.
  const Model plain = read_model(work.at("plain.safetensors")),
              marked = read_model(work.at("marked.safetensors"));
  for (size_t i = 0; i < 20; ++i)
    CHECK(marked.at("fc.weight").values[i] == doctest::Approx(plain.at("fc.weight").values[i]).epsilon(1e-2));
}

TEST_CASE("program: embed distils into a fresh student of another size, with and without labels") {
  const Workshop work;
  const auto student = [&](std::vector<std::string> more) {
    std::vector<std::string> words =
        work.embed({"--teacher", work.at("plain.safetensors"), "--net", "wrn-10-2", "--data", pictures,
                    "--epochs", "1", "--batch", "48"});
    words.insert(words.end(), more.begin(), more.end());
    const nlohmann::json result = json_of(words);
    CHECK(result["situation"] == "distil");
    CHECK(result["network"] == "wrn-10-2");
    CHECK(result.contains("teacher_accuracy"));
    return read_text_file(work.at("marked.safetensors"));
  };
  const std::string labelled = student({});
  const std::string soft = student({"--soft-only"});
  CHECK(labelled != soft);
  CHECK(soft != student({"--soft-only", "--temperature", "1"}));
}

TEST_CASE("program: embed marks a brought file that says nothing of itself, once --net names its network") {
  const Workshop work;
  Model brought = read_model(work.at("plain.safetensors"));
  brought.metadata.clear();
  write_model(brought, work.at("brought.safetensors"));
  const std::vector<std::string> words = work.embed({"--model", work.at("brought.safetensors"), "--no-data"});
  check_refused(work.folder, words, 2, "name it with --net");
  std::vector<std::string> named = words;
  named.insert(named.end(), {"--net", "wrn-10-1", "--strength", "7"});
  CHECK(json_of(named)["mark"]["errors"] == 0);
  named = words;
  named.insert(named.end(), {"--net", "wrn-16-1"});
  check_refused(work.folder, named, 1, "block1.layer.1");
  CHECK(json_of(work.embed({"--model", work.at("brought.safetensors"), "--net", "wrn-10-1", "--data",
                            pictures, "--epochs", "1", "--strength", "7"}))["situation"] == "fine-tune");
}

TEST_CASE("program: embed refuses what does not go together, and changes nothing") {
  const Workshop work;
  const std::string plain = work.at("plain.safetensors");
  const auto refused = [&](const std::vector<std::string>& more, int exit_code, const std::string& why) {
    check_refused(work.folder, work.embed(more), exit_code, why);
  };
  refused({"--data", pictures}, 2, "either --model");
  refused({"--model", plain, "--teacher", plain, "--data", pictures}, 2, "either --model");
  refused({"--model", plain}, 2, "either --data");
  refused({"--model", plain, "--no-data", "--data", pictures}, 2, "either --data");
  refused({"--teacher", plain, "--no-data"}, 2, "--teacher does not go with --no-data");
  refused({"--model", plain, "--no-data", "--scheme", "magic"}, 2, "magic");
  refused({"--model", plain, "--no-data", "--option", "strength"}, 2, "name=value");
  refused({"--model", plain, "--no-data", "--strength", "500"}, 2, "payload");
  refused({"--model", plain, "--no-data", "--scheme", "trigger-set"}, 2, "training data");
  refused({"--model", work.at("owner.key"), "--no-data"}, 1, "owner.key");
  refused({"--model", work.at("none.safetensors"), "--no-data"}, 1, "none.safetensors");
  refused({"--teacher", plain, "--data", pictures, "--temperature", "0"}, 2, "temperature");
  check_refused(work.folder,
                {"embed", "--key", work.at("owner.key"), "--model", plain, "--no-data", "--out", plain}, 2,
                "would be replaced");
  check_refused(work.folder,
                {"embed", "--key", work.at("owner.key"), "--model", plain, "--no-data", "--out",
                 (work.folder / "").string()},
                2, "--out names the model file");
}

TEST_CASE("program: embed --resume goes on to the same bits after an interrupt") {
  const Workshop work;
  const std::vector<std::string> words =
      work.embed({"--model", work.at("plain.safetensors"), "--data", "synthetic:train=480,test=32",
                  "--epochs", "2", "--batch", "32", "--strength", "7", "--quiet", "--threads", "1"});
  output_of(words);
  const std::string expected = read_text_file(work.at("marked.safetensors"));
  fs::remove(work.at("marked.safetensors"));
  fs::remove(work.at("marked.checkpoint.safetensors"));
  fs::remove(work.at("metrics.jsonl"));
  {
    Program cut(words);
    while (cut.running() && !fs::exists(work.at("metrics.jsonl"))) ::usleep(1000);
    cut.signal(SIGINT);
    const int code = cut.wait();
    CHECK((code == 130 || code == 0));  // 0: the second epoch was over first
  }
  std::vector<std::string> again = words;
  again.push_back("--resume");
  output_of(again);
  CHECK(read_text_file(work.at("marked.safetensors")) == expected);
}

TEST_CASE("program: reproduce refuses unknown experiments and a preset without its data") {
  const ScratchFolder folder;
  const std::string out = (folder / "out").string();
  check_refused(folder, {"reproduce", "--only", "nothing", "--out", out}, 2, "from-scratch");
  check_refused(folder, {"reproduce", "--preset", "quick", "--out", out}, 2, "--data");
  check_refused(folder, {"reproduce", "--preset", "huge", "--out", out}, 2, "huge");
  check_refused(folder, {"reproduce", "--seed", "0", "--out", out}, 2, "from 1");
  check_refused(folder, {"reproduce", "--data", (folder / "none").string(), "--out", out}, 1,
                "does not exist");
}

TEST_CASE("program: reproduce writes its report and says so as JSON") {
  const ScratchFolder folder;
  const std::string out = (folder / "out").string();
  const nlohmann::json result = json_of({"reproduce", "--only", "from-scratch", "--out", out});
  CHECK(result["experiments"].size() == 1);
  CHECK(result["goals"].get<int>() > 0);
  CHECK(fs::exists(folder / "out" / "report.html"));
  CHECK(nlohmann::json::parse(read_text_file(folder / "out" / "result.json")) == result);
}
