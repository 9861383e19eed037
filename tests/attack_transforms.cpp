// Transforms that keep the function: logits before and after, on pictures drawn at random.
#include <doctest/doctest.h>

#include "layers/channel_groups.h"
#include "tests/attack_support.h"
#include "watermark/channels.h"

using namespace dw;
using namespace dw::test;

namespace {

const NetworkSpec deep_wide{"wrn-16-2", 5, 3, 8, 8};
const NetworkSpec small_mlp{"mlp", 4, 1, 4, 4};

void check_function_kept(const NetworkSpec& spec, const std::string& attack, uint64_t seed) {
  CAPTURE(spec.name);
  CAPTURE(attack);
  const Model model = random_model(spec, seed);
  const Model transformed = attacked(model, attack, seed);
  CHECK(changed(model, transformed).size() >= 3);
  const Tensor pictures = random_pictures(spec, 3, seed);
  const std::vector<float> before = logits_of(model, pictures), after = logits_of(transformed, pictures);
  double size = 0;
  for (const float value : before) size = std::max(size, static_cast<double>(std::fabs(value)));
  CHECK(size > 0.01);
  CHECK(largest_difference(before, after) <= 2e-5 * std::max(1.0, size));
}

}  // namespace

TEST_CASE("channel groups: every hidden channel of every network is in one group") {
  for (const NetworkSpec& spec :
       {small_wide, deep_wide, NetworkSpec{"wrn-22-3", 3, 1, 8, 8}, small_resnet, small_lenet, small_mlp}) {
    CAPTURE(spec.name);
    const Model model = random_model(spec, 1);
    std::map<std::string, int> produced, read, vectors;
    for (const ChannelGroup& group : channel_groups(spec)) {
      const int64_t channels = channels_of(model, group);
      const auto count_norm = [&](const std::string& norm) {
        if (norm.empty()) return;
        for (const char* const vector : {".weight", ".bias", ".running_mean", ".running_var"})
          ++vectors[norm + vector];
      };
      for (const ChannelProducer& producer : group.producers) {
        ++produced[producer.weight];
        CHECK(model.at(producer.weight).shape[0] == channels);
        if (!producer.bias.empty()) ++vectors[producer.bias];
        count_norm(producer.norm);
      }
      for (const ChannelReader& reader : group.readers) {
        count_norm(reader.norm);
        for (const std::string& name : reader.consumers) {
          ++read[name];
          CHECK(model.at(name).shape[1] % channels == 0);
        }
      }
    }
    int ends = 0;
    for (const ModelTensor& tensor : model.tensors) {
      CAPTURE(tensor.name);
      if (tensor.shape.size() == 1) {
        const bool last = tensor.name == "fc.bias" || tensor.name == "fc3.bias";
        CHECK(vectors[tensor.name] == (last ? 0 : 1));
        continue;
      }
      CHECK(produced[tensor.name] <= 1);
      CHECK(read[tensor.name] <= 1);
      ends += 2 - produced[tensor.name] - read[tensor.name];
    }
    CHECK(ends == 2);  // the side of the image and the side of the classes
  }
}

TEST_CASE("attack permute keeps the function") {
  for (const NetworkSpec& spec : {small_wide, deep_wide, small_resnet, small_lenet, small_mlp})
    check_function_kept(spec, "permute", 3);
}

TEST_CASE("attack rescale keeps the function") {
  for (const NetworkSpec& spec : {small_wide, deep_wide, small_resnet, small_lenet, small_mlp})
    check_function_kept(spec, "rescale", 4);
}

TEST_CASE("attack flip keeps the function") {
  for (const NetworkSpec& spec : {small_wide, deep_wide, small_resnet}) check_function_kept(spec, "flip", 5);
  CHECK_THROWS_AS(attacked(random_model(small_lenet, 1), "flip"), UsageError);
}

TEST_CASE("attack dummy keeps the function of a network that has grown") {
  for (const NetworkSpec& spec : {small_wide, deep_wide, small_resnet, small_lenet, small_mlp})
    check_function_kept(spec, "dummy", 6);
  const Model grown = attacked(random_model(small_wide, 1), "dummy:0.25");
  CHECK(grown.at("block3.layer.0.conv2.weight").shape == Shape{80, 80, 3, 3});
  CHECK(grown.at("fc.weight").shape == Shape{4, 80});
  CHECK(grown.at("bn1.running_var").values.size() == 80);
}

TEST_CASE("attacks that keep the function keep it one after the other") {
  for (const NetworkSpec& spec : {small_wide, deep_wide, small_resnet})
    check_function_kept(spec, "dummy:0.2,permute,rescale,flip,permute", 7);
  check_function_kept(small_lenet, "permute,rescale,dummy,permute", 8);
}

TEST_CASE("a grown network is a file like any other") {
  const ScratchFolder folder;
  const Model grown = attacked(random_model(small_wide, 1), "dummy:0.25");
  write_model(grown, folder / "m.safetensors");
  const Model again = read_model(folder / "m.safetensors");
  const Tensor pictures = random_pictures(small_wide, 2, 1);
  CHECK(logits_of(again, pictures) == logits_of(grown, pictures));
  Model unsaid = grown;
  unsaid.metadata.erase("shapes");
  CHECK(contains(error_of([&] { network_of(unsaid); }), "expected [16, 3, 3, 3], found [20, 3, 3, 3]"));
  Model torn = grown;
  select_channels(torn, {{{"conv1.weight", "", ""}}, {}}, std::vector<int64_t>{0, 1});
  CHECK_THROWS_AS(logits_of(torn, pictures), Error);
}
