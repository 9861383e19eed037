// Attacks on the weights alone: what they change, and by how much.
#include <doctest/doctest.h>

#include <numeric>
#include <set>

#include "tests/attack_support.h"
#include "watermark/pruning.h"

using namespace dw;
using namespace dw::test;

namespace {

Model filters(const std::vector<int64_t>& shape, std::vector<float> values) {
  return {{}, {{"w", shape, std::move(values)}, {"b", {2}, {5, 6}}}};
}

double share_of_zeros(const ModelTensor& tensor) {
  return static_cast<double>(std::ranges::count(tensor.values, 0.0F)) /
         static_cast<double>(tensor.values.size());
}

double deviation(const std::vector<float>& values) {
  double sum = 0, squares = 0;
  for (const double v : values) {
    sum += v;
    squares += v * v;
  }
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / n - sum / n * sum / n);
}

}  // namespace

TEST_CASE("attack prune: the same weights as the command prunes") {
  const ScratchFolder folder;
  const Model model = random_model(small_wide, 2);
  write_model(model, folder / "in.safetensors");
  for (const char* const scope : {"layer", "global"}) {
    prune_model(folder / "in.safetensors", folder / "out.safetensors", 0.8, parse_pruning_scope(scope));
    Model by_name = attacked(model, std::string("prune:0.8:scope=") + scope);
    const Model by_command = read_model(folder / "out.safetensors");
    CHECK(changed(by_name, by_command).empty());
    for (const ModelTensor& tensor : by_name.tensors)
      if (tensor.shape.size() == 1) CHECK(tensor.values == model.at(tensor.name).values);
  }
}

TEST_CASE("attack prune: random and largest-first") {
  const Model model = filters({1, 8}, {1, -2, 3, -4, 5, -6, 7, -8});
  CHECK(attacked(model, "prune-largest:0.5").at("w").values == std::vector<float>{1, -2, 3, -4, 0, 0, 0, 0});
  CHECK(attacked(model, "prune:0.5").at("w").values == std::vector<float>{0, 0, 0, 0, 5, -6, 7, -8});
  const Model wide = random_model(small_wide, 2);
  const Model thinned = attacked(wide, "prune-random:0.7");
  const ModelTensor& kept = thinned.at("block3.layer.0.conv2.weight");
  CHECK(share_of_zeros(kept) == doctest::Approx(0.7).epsilon(1e-4));
  // Blind to magnitude: what is left has the deviation of all.
  std::vector<float> left;
  std::ranges::copy_if(kept.values, std::back_inserter(left), [](float v) { return v != 0; });
  CHECK(deviation(left) ==
        doctest::Approx(deviation(wide.at("block3.layer.0.conv2.weight").values)).epsilon(0.03));
}

TEST_CASE("attack prune-filters: whole filters, the weakest, and never the first layer's") {
  Model model{{},
              {{"stem", {2, 1, 1, 2}, {0.1F, 0.1F, 9, 9}},
               {"w", {4, 2, 1, 1}, {1, 1, 0.1F, 5, -2, -2, 0.3F, 0.3F}},
               {"fc", {2, 2}, {1, 2, 3, 4}}}};
  const Model pruned = attacked(model, "prune-filters:0.5");
  CHECK(pruned.at("w").values == std::vector<float>{0, 0, 0.1F, 5, -2, -2, 0, 0});
  CHECK(changed(model, pruned) == std::vector<std::string>{"w"});
}

TEST_CASE("attack quantise: as many levels as the bits name, none further than half a step") {
  const Model model = random_model(small_wide, 4);
  const std::string name = "block2.layer.0.conv2.weight";
  const std::vector<float>& before = model.at(name).values;
  const auto [least, greatest] = std::ranges::minmax(before);
  for (int bits = 2; bits <= 8; ++bits) {
    CAPTURE(bits);
    const std::vector<float> symmetric = attacked(model, fmt::format("quantise:{}", bits)).at(name).values;
    CHECK(std::set<float>(symmetric.begin(), symmetric.end()).size() <= (size_t{1} << bits) - 1);
    const double step = std::max(std::fabs(least), std::fabs(greatest)) / ((1 << (bits - 1)) - 1);
    CHECK(largest_difference(before, symmetric) <= step / 2 * 1.0001);
    const std::vector<float> affine =
        attacked(model, fmt::format("quantise:{}:mode=affine", bits)).at(name).values;
    CHECK(std::set<float>(affine.begin(), affine.end()).size() <= size_t{1} << bits);
    CHECK(largest_difference(before, affine) <= (greatest - least) / ((1 << bits) - 1) / 2 * 1.0001);
  }
  // By channel, each filter has levels of its own.
  const std::vector<float> fine = attacked(model, "quantise:3:per=channel").at(name).values;
  const size_t size = fine.size() / 32;
  for (size_t f = 0; f < 32; ++f)
    CHECK(std::set<float>(fine.begin() + long(f * size), fine.begin() + long((f + 1) * size)).size() <= 7);
  CHECK(std::set<float>(fine.begin(), fine.end()).size() > 32);
  CHECK(attacked(filters({1, 2}, {0, 0}), "quantise:2").at("w").values == std::vector<float>{0, 0});
}

TEST_CASE("attack noise: in units of each layer's deviation") {
  const Model model = random_model(small_wide, 4);
  const Model noisy = attacked(model, "noise:2");
  for (const char* const name : {"block3.layer.0.conv1.weight", "block1.layer.0.conv1.weight"}) {
    std::vector<float> difference = noisy.at(name).values;
    for (size_t i = 0; i < difference.size(); ++i) difference[i] -= model.at(name).values[i];
    CHECK(deviation(difference) == doctest::Approx(2 * deviation(model.at(name).values)).epsilon(0.05));
  }
  CHECK(noisy.at("bn1.weight").values == model.at("bn1.weight").values);
}

TEST_CASE("attack shift: the mean filter changes its sign by alpha, differences of filters stay") {
  const Model model = filters({2, 2, 1, 1}, {1, 10, 3, -2});
  const std::vector<float> shifted = attacked(model, "shift:1.5:noise=0").at("w").values;
  CHECK(shifted == std::vector<float>{1 - 3, 10 - 6, 3 - 3, -2 - 6});
}
