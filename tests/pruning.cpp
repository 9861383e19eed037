// Magnitude pruning of model files: which weights go, what stays, what is refused.
#include "watermark/pruning.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <span>

#include "core/safetensors.h"
#include "tests/watermark_ownership_support.h"

using namespace dw;
using namespace dw::test;

namespace {

// A file under construction; owns the bytes its entries view.
class FileInTheMaking {
 public:
  template <typename T>
  void add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
           const std::vector<T>& values) {
    std::vector<std::byte>& bytes = bytes_[name];
    const auto view = std::as_bytes(std::span(values));
    bytes.assign(view.begin(), view.end());
    entries_[name] = {dtype, shape, bytes};
  }
  std::filesystem::path save(const std::filesystem::path& path) const {
    write_safetensors(path, {{"network", "test"}, {"note", "kept"}}, entries_);
    return path;
  }

 private:
  std::map<std::string, std::vector<std::byte>> bytes_;
  std::map<std::string, SafetensorsEntry> entries_;
};

std::vector<float> pruned_values(const std::filesystem::path& path, const std::string& name) {
  return SafetensorsFile::open(path).read_f32(name);
}

// Two layers of different size and a bias.
FileInTheMaking two_layers() {
  FileInTheMaking model;
  model.add<float>("a.weight", "F32", {2, 2}, {4, -1, 3, -2});
  model.add<float>("b.weight", "F32", {2, 1, 1, 3}, {-0.1F, 10, 20, -30, 40, 0.2F});
  model.add<float>("a.bias", "F32", {2}, {0.001F, 0.002F});
  return model;
}

size_t files_in(const ScratchFolder& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder / ".")) ++count;
  return count;
}

}  // namespace

TEST_CASE("pruning: the fraction of every layer on its own") {
  const ScratchFolder folder;
  const auto in = two_layers().save(folder / "in.safetensors"), out = folder / "out.safetensors";
  const PruningReport report = prune_model(in, out, 0.5, PruningScope::layer);
  CHECK(pruned_values(out, "a.weight") == std::vector<float>{4, 0, 3, 0});
  CHECK(pruned_values(out, "b.weight") == std::vector<float>{0, 0, 20, -30, 40, 0});
  CHECK(pruned_values(out, "a.bias") == std::vector<float>{0.001F, 0.002F});
  CHECK(report.weights == 10);
  CHECK(report.zeros == 5);
  REQUIRE(report.layers.size() == 2);
  CHECK(report.layers[0].name == "a.weight");
  CHECK(report.layers[0].weights == 4);
  CHECK(report.layers[0].zeros == 2);
  CHECK(report.layers[1].zeros == 3);
}

TEST_CASE("pruning: the fraction of all weights together") {
  const ScratchFolder folder;
  const auto in = two_layers().save(folder / "in.safetensors"), out = folder / "out.safetensors";
  const PruningReport report = prune_model(in, out, 0.5, PruningScope::global);
  CHECK(pruned_values(out, "a.weight") == std::vector<float>{4, 0, 0, 0});
  CHECK(pruned_values(out, "b.weight") == std::vector<float>{0, 10, 20, -30, 40, 0});
  CHECK(report.zeros == 5);
}

TEST_CASE("pruning: of equal magnitudes the first go") {
  const ScratchFolder folder;
  FileInTheMaking model;
  model.add<float>("b", "F32", {1, 3}, {1, 1, 1});
  model.add<float>("a", "F32", {1, 5}, {1, -1, 1, -1, 1});
  const auto in = model.save(folder / "in.safetensors"), out = folder / "out.safetensors";
  prune_model(in, out, 0.4, PruningScope::layer);
  CHECK(pruned_values(out, "a") == std::vector<float>{0, 0, 1, -1, 1});
  CHECK(pruned_values(out, "b") == std::vector<float>{0, 1, 1});
  prune_model(in, out, 0.75, PruningScope::global);
  CHECK(pruned_values(out, "a") == std::vector<float>{0, 0, 0, 0, 0});
  CHECK(pruned_values(out, "b") == std::vector<float>{0, 1, 1});
}

TEST_CASE("pruning: counts are rounded and pruning twice adds nothing") {
  const ScratchFolder folder;
  FileInTheMaking model;
  std::vector<float> values;
  for (int i = 0; i < 1001; ++i) values.push_back(static_cast<float>((i * 389) % 1001 + 1));
  model.add<float>("w", "F32", {7, 11, 13}, values);
  const auto in = model.save(folder / "in.safetensors"), out = folder / "out.safetensors";
  for (const double fraction : {0.0, 0.0004, 0.0006, 0.65, 0.9, 0.95, 0.999, 0.9999}) {
    const auto expected = std::llround(fraction * 1001);
    CAPTURE(fraction);
    CHECK(prune_model(in, out, fraction, PruningScope::layer).zeros == expected);
    const std::vector<float> left = pruned_values(out, "w");
    for (size_t i = 0; i < left.size(); ++i)
      CHECK(left[i] == (values[i] <= static_cast<float>(expected) ? 0 : values[i]));
    const auto twice = folder / "twice.safetensors";
    CHECK(prune_model(out, twice, fraction, PruningScope::global).zeros == expected);
    CHECK(pruned_values(twice, "w") == left);
  }
}

TEST_CASE("pruning: every floating dtype stays what it is, and nothing else is touched") {
  const ScratchFolder folder;
  FileInTheMaking model;
  model.add<uint16_t>("half", "F16", {1, 4}, {0x3c00, 0xb800, 0x4000, 0x0001});    // 1, -0.5, 2, 6e-8
  model.add<uint16_t>("brain", "BF16", {1, 4}, {0x3f80, 0xbf00, 0x4000, 0x0080});  // 1, -0.5, 2, 1e-38
  model.add<double>("double", "F64", {2, 2}, {0.1, -1e-3, 1.0 / 3, 2e-3});
  model.add<int64_t>("count", "I64", {2, 2}, {1, 2, 3, 4});
  model.add<uint8_t>("mask", "U8", {2, 2}, {1, 2, 3, 4});
  model.add<float>("norm.weight", "F32", {3}, {1, 2, 3});
  model.add<float>("scalar", "F32", {}, {5});
  model.add<float>("empty", "F32", {0, 3}, {});
  const auto in = model.save(folder / "in.safetensors"), out = folder / "out.safetensors";
  CHECK(prune_model(in, out, 0.5, PruningScope::layer).weights == 12);

  const SafetensorsFile before = SafetensorsFile::open(in), after = SafetensorsFile::open(out);
  REQUIRE(after.entries().size() == before.entries().size());
  for (const auto& [name, entry] : before.entries()) {
    CAPTURE(name);
    CHECK(after.at(name).dtype == entry.dtype);
    CHECK(after.at(name).shape == entry.shape);
  }
  for (const std::string name : {"count", "mask", "norm.weight", "scalar"}) {
    CAPTURE(name);
    CHECK(std::ranges::equal(after.at(name).bytes, before.at(name).bytes));
  }
  CHECK(after.read_f32("half") == std::vector<float>{1, 0, 2, 0});
  CHECK(after.read_f32("brain") == std::vector<float>{1, 0, 2, 0});
  CHECK(after.read_f64("double") == std::vector<double>{0.1, 0, 1.0 / 3, 0});
  CHECK(after.metadata().at("network") == "test");
  CHECK(after.metadata().at("note") == "kept");
  CHECK(after.metadata().at("pruned") == "0.5 layer");
}

TEST_CASE("pruning: infinities are the largest of all") {
  const ScratchFolder folder;
  const float infinity = std::numeric_limits<float>::infinity();
  FileInTheMaking model;
  model.add<float>("w", "F32", {1, 4}, {-infinity, 1, infinity, 3e38F});
  const auto in = model.save(folder / "in.safetensors"), out = folder / "out.safetensors";
  prune_model(in, out, 0.5, PruningScope::layer);
  CHECK(pruned_values(out, "w") == std::vector<float>{-infinity, 0, infinity, 0});
}

TEST_CASE("pruning: what is refused leaves nothing behind") {
  const ScratchFolder folder;
  const auto in = two_layers().save(folder / "in.safetensors"), out = folder / "out.safetensors";
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double fraction : {1.0, 1.5, -0.1, nan, std::numeric_limits<double>::infinity()}) {
    CAPTURE(fraction);
    CHECK_THROWS_AS(prune_model(in, out, fraction, PruningScope::layer), UsageError);
  }
  CHECK_THROWS_AS(parse_pruning_scope("network"), UsageError);

  CHECK_THROWS_AS(prune_model(in, in, 0.5, PruningScope::layer), UsageError);
  std::filesystem::create_symlink(in, folder / "link.safetensors");
  CHECK_THROWS_AS(prune_model(in, folder / "link.safetensors", 0.5, PruningScope::layer), UsageError);
  CHECK(pruned_values(in, "a.weight") == std::vector<float>{4, -1, 3, -2});

  FileInTheMaking broken = two_layers();
  broken.add<float>("c.weight", "F32", {1, 2}, {1, std::numeric_limits<float>::quiet_NaN()});
  const auto with_nan = broken.save(folder / "nan.safetensors");
  for (const PruningScope scope : {PruningScope::layer, PruningScope::global}) {
    const std::string message = error_of([&] { prune_model(with_nan, out, 0.5, scope); });
    CHECK(contains(message, "c.weight"));
    CHECK(contains(message, "NaN"));
  }

  FileInTheMaking none;
  none.add<float>("bias", "F32", {2}, {1, 2});
  CHECK_THROWS_AS(prune_model(none.save(folder / "none.safetensors"), out, 0.5, PruningScope::layer),
                  UsageError);
  CHECK(
      contains(error_of([&] { prune_model(folder / "missing", out, 0.5, PruningScope::layer); }), "missing"));
  CHECK(contains(error_of([&] { prune_model(in, in / "out", 0.5, PruningScope::layer); }),
                 "in.safetensors/out"));
  CHECK_FALSE(std::filesystem::exists(out));
  CHECK(files_in(folder) == 4);
}
