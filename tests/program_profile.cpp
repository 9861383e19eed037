// --profile and bench, as a person or a script meets them. Nothing here depends on how long anything took.
#include <doctest/doctest.h>

#include <set>
#include <sstream>

#include "kernels/device.h"
#include "tests/program_support.h"

using namespace dw;
using namespace dw::test;

namespace {

std::set<std::string> kernels_in(const nlohmann::json& profile) {
  std::set<std::string> names;
  for (const auto& kernel : profile.at("kernels")) names.insert(kernel.at("kernel").get<std::string>());
  return names;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("program: train and eval --profile say where the time goes") {
  const ScratchFolder folder;
  const std::string model = (folder / "model.safetensors").string();
  const std::string data = "synthetic:train=320,test=600";
  const nlohmann::json trained =
      json_of({"train", "--net", "wrn-10-1", "--data", data, "--batch", "64", "--epochs", "1", "--device",
               "cpu", "--threads", "1", "--out", model, "--profile", "--predict", "8,h200"});
  const nlohmann::json& profile = trained.at("profile");
  CHECK(profile.at("steps") == 3);  // of five, without the warm-up; those of the evaluation do not count
  const std::set<std::string> kernels = kernels_in(profile);
  for (const char* expected :
       {"conv_forward", "conv_backward_data", "conv_backward_weight", "batch_norm_training",
        "batch_norm_backward", "softmax_cross_entropy", "sgd", "augment", "next_batch"})
    CHECK_MESSAGE(kernels.contains(expected), expected);
  CHECK_FALSE(kernels.contains("batch_norm_inference"));
  double inside = profile.at("outside_milliseconds").get<double>();
  for (const auto& kernel : profile.at("kernels")) inside += kernel.at("milliseconds").get<double>();
  CHECK(inside == doctest::Approx(profile.at("milliseconds").get<double>()));
  CHECK(profile.at("predictions").size() == 4);

  const std::string text =
      output_of({"eval", "--data", data, "--profile", "--threads", "1", "--predict", "64", model});
  for (const char* expected : {"accuracy", "a step:", "conv_forward", "batch_norm_inference",
                               "(outside kernels)", "predicted on", "64 cores"})
    CHECK_MESSAGE(contains(text, expected), text);
  CHECK_FALSE(contains(text, "conv_backward"));
  check_refused(folder, {"eval", "--data", data, "--profile", "--predict", "many", model}, 2, "\"many\"");
}

TEST_CASE("program: bench lists, filters and measures") {
  const std::vector<std::string> all = lines_of(output_of({"bench", "--list"}));
  CHECK(std::set<std::string>(all.begin(), all.end()).size() == all.size());
  for (const char* expected :
       {"machine/sgemm", "machine/triad", "conv_forward/wrn-10-1", "conv_backward_data/wrn-10-4",
        "conv_backward_weight/resnet-18", "batch_norm_training_relu/", "softmax_cross_entropy/", "sgd/",
        "adam/", "augment/", "next_batch/", "match_distributions/", "read_mark/", "verify/"})
    CHECK_MESSAGE(std::any_of(all.begin(), all.end(),
                              [&](const std::string& name) { return name.starts_with(expected); }),
                  expected);
  CHECK(lines_of(output_of({"bench", "--list", "--filter", "^machine/"})).size() == 3);
  CHECK(json_of({"bench", "--list", "--filter", "^sgd/"}).at("benchmarks").size() == 3);

  const nlohmann::json result =
      json_of({"bench", "--filter", "softmax_cross_entropy/64x10$|verify/wrn-10-1/0", "--min-time", "0.001",
               "--threads", "1"});
  CHECK(result.at("matmul_gflops").get<double>() > 0);
  CHECK(result.at("triad_gbytes").get<double>() > 0);
  CHECK(result.at("gpu").is_null() == (cuda_device_count() == 0));
  const auto& list = result.at("benchmarks");
  REQUIRE(list.size() == 2);
  CHECK(list[0].at("name") == "softmax_cross_entropy/64x10");
  CHECK(list[0].at("bytes") == 64 * (10 * 4 + 8 + 4 + 10 * 4));
  for (const auto& each : list) CHECK(each.at("milliseconds").get<double>() > 0);

  const std::string table = output_of(
      {"bench", "--filter", "match_distributions/wrn-10-1", "--min-time", "0.001", "--threads", "1"});
  for (const char* expected :
       {"benchmark", "match_distributions/wrn-10-1", "GB/s", "this machine: matrix product"})
    CHECK_MESSAGE(contains(table, expected), table);
}

TEST_CASE("program: bench refuses what it cannot measure") {
  const ScratchFolder folder;
  check_refused(folder, {"bench", "--filter", "no such kernel"}, 2,
                "no benchmark matches \"no such kernel\"");
  check_refused(folder, {"bench", "--filter", "(", "--list"}, 2, "regular expression");
  check_refused(folder, {"bench", "--min-time", "0"}, 2, "--min-time");
}
