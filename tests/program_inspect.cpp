// `deepwater inspect` on files of any network: fits, several files, reports, and files made to break it.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/safetensors.h"
#include "tests/program_support.h"

using namespace dw;
using namespace dw::test;

namespace {

struct Stored {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// As F32, or by `dtype` "BF16" cut to sixteen bits.
void save(const fs::path& path, const std::map<std::string, Stored>& tensors,
          const std::string& dtype = "F32") {
  std::map<std::string, std::vector<std::byte>> bytes;
  std::map<std::string, SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    std::vector<std::byte>& data = bytes[name];
    for (const float value : tensor.values) {
      const auto raw = std::as_bytes(std::span(&value, 1));
      data.insert(data.end(), raw.begin() + (dtype == "BF16" ? 2 : 0), raw.end());
    }
    entries[name] = {dtype, tensor.shape, data};
  }
  write_safetensors(path, {{"note", "line one\nline two"}}, entries);
}

// Laplace draws of scale `scale`.
std::vector<float> laplace_draws(size_t count, float scale) {
  std::mt19937 generator(4);
  std::exponential_distribution<float> exponential(1);
  std::vector<float> values(count);
  for (float& value : values) value = scale * (exponential(generator) - exponential(generator));
  return values;
}

nlohmann::json fit_named(const nlohmann::json& layer, const std::string& family) {
  for (const nlohmann::json& fit : layer.at("fits"))
    if (fit.at("family") == family) return fit;
  return {};
}

}  // namespace

TEST_CASE("program: inspect finds the distribution of foreign weights, in F32 and BF16") {
  const ScratchFolder folder;
  const std::vector<float> weights = laplace_draws(6000, 0.02F);
  for (const std::string dtype : {"F32", "BF16"}) {
    CAPTURE(dtype);
    save(folder / "model", {{"encoder/h.0", {{60, 100}, weights}}, {"bias", {{4}, {1, 2, 3, 4}}}}, dtype);
    const nlohmann::json report = json_of({"inspect", (folder / "model").string()});
    CHECK(report.at("layers").size() == 2);
    CHECK(report.at("layers")[0].at("fits").empty());
    const nlohmann::json& layer = report.at("layers")[1];
    CHECK(layer.at("kurtosis").get<double>() == doctest::Approx(6).epsilon(0.15));
    CHECK(fit_named(layer, "Laplace").at("rank") == 1);
    CHECK(fit_named(layer, "Laplace").at("scale").get<double>() == doctest::Approx(0.02).epsilon(0.04));
    CHECK(fit_named(layer, "generalised normal").at("shape").get<double>() ==
          doctest::Approx(1).epsilon(0.06));
    CHECK(report.at("ranking")[0].at("family") == "Laplace");
    CHECK(report.at("ranking")[0].at("wins") == 1);
  }
  CHECK(json_of({"inspect", (folder / "model").string(), "--no-fits"}).at("ranking").empty());
}

TEST_CASE("program: inspect ranks over several files and writes a page that needs nothing else") {
  const ScratchFolder folder;
  const std::string a = (folder / "a.safetensors").string(), b = (folder / "b.safetensors").string();
  save(a, {{"w<script>", {{10, 60}, laplace_draws(600, 1)}}});
  save(b, {{"w", {{10, 60}, laplace_draws(600, 3)}}});
  const std::string page = (folder / "page.html").string();
  const nlohmann::json report = json_of({"inspect", a, b, "--report", page});
  CHECK(report.at("models").size() == 2);
  int wins = 0;
  for (const nlohmann::json& row : report.at("ranking")) wins += row.at("wins").get<int>();
  CHECK(wins == 2);
  const std::string html = read_text_file(page);
  CHECK(std::string_view(html).starts_with("<!DOCTYPE html>"));
  CHECK(!contains(html, "<script"));
  CHECK(!contains(html, "src=\"http"));
  size_t plots = 0;
  for (size_t at = html.find("<svg"); at != std::string::npos; at = html.find("<svg", at + 1)) ++plots;
  CHECK(plots == 4);
  const std::string table = output_of({"inspect", a, b});
  CHECK(contains(table, "generalised normal"));
  check_refused(folder, {"inspect", a, "--report", a}, 2, "another file");
  check_refused(folder, {"inspect", a, (folder / "none").string(), "--report", (folder / "p.html").string()},
                1, "none");
}

TEST_CASE("program: inspect survives weights that are not finite, constant, tiny, empty or extreme") {
  const ScratchFolder folder;
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> broken = laplace_draws(400, 1), extreme = broken, coarse = broken;
  for (size_t i = 0; i < broken.size(); i += 3) broken[i] = i % 2 == 0 ? std::nanf("") : -infinity;
  for (size_t i = 0; i < extreme.size(); ++i) extreme[i] = i % 2 == 0 ? 3e38F : 1e-44F;
  for (float& value : coarse) value = std::round(value);
  save(folder / "m", {{"broken", {{20, 20}, broken}},
                      {"coarse", {{20, 20}, coarse}},
                      {"constant", {{20, 20}, std::vector<float>(400, 0.5F)}},
                      {"empty", {{0, 3}, {}}},
                      {"extreme", {{20, 20}, extreme}},
                      {"scalar", {{}, {1}}},
                      {"zeros", {{20, 20}, std::vector<float>(400, 0.0F)}}});
  const nlohmann::json report =
      json_of({"inspect", (folder / "m").string(), "--report", (folder / "r.html").string()});
  std::map<std::string, nlohmann::json> layers;
  for (const nlohmann::json& layer : report.at("layers")) {
    layers[layer.at("name")] = layer;
    for (const std::string field : {"mean", "deviation", "scale", "skewness", "kurtosis"})
      CHECK(layer.at(field).is_number());
    for (const nlohmann::json& fit : layer.at("fits")) {
      CHECK(fit.at("aic").is_number());
      CHECK(fit.at("scale").get<double>() > 0);
    }
  }
  CHECK(layers.size() == 7);
  CHECK(layers["broken"].at("not_finite") == 134);
  CHECK(layers["broken"].at("fits").size() == 5);
  for (const std::string name : {"constant", "empty", "scalar", "zeros"})
    CHECK(layers[name].at("fits").empty());
  CHECK(contains(output_of({"inspect", (folder / "m").string()}), "134 not finite"));
  CHECK(contains(output_of({"inspect", (folder / "m").string()}), "line one line two"));
}
