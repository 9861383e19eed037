// Models as values, and attacks as text: parsing, refusals, chains, seeds.
#include <doctest/doctest.h>

#include "core/module.h"
#include "tests/attack_support.h"

using namespace dw;
using namespace dw::test;

TEST_CASE("model: file and network hold the same values") {
  const ScratchFolder folder;
  const Model model = random_model(small_wide, 3);
  write_model(model, folder / "m.safetensors");
  const Model again = read_model(folder / "m.safetensors");
  CHECK(again.metadata == model.metadata);
  CHECK(again.tensors.size() == model.tensors.size());
  CHECK(changed(model, again).empty());
  const std::unique_ptr<Module> network = network_of(again);
  CHECK(changed(model, model_of(*network, {})).empty());
  CHECK(spec_of(again).name == "wrn-10-1");
  CHECK(spec_of(again).classes == 4);
}

TEST_CASE("model: what does not fit a network is named, and nothing is changed") {
  Model model = random_model(small_lenet, 3);
  const std::unique_ptr<Module> network = network_of(model);
  model.tensors.push_back({"extra", {1}, {0}});
  model.at("fc3.bias").shape = {2, 2};
  model.at("conv1.weight").name = "conv9.weight";
  model.at("fc1.bias").values[0] = 100;
  const std::string message = error_of([&] { load_into(*network, model); });
  CHECK(contains(message, "extra: not expected"));
  CHECK(contains(message, "fc3.bias: expected [4], found [2, 2]"));
  CHECK(contains(message, "conv1.weight: expected"));
  CHECK(contains(message, "conv9.weight"));
  CHECK(model_of(*network, {}).at("fc1.bias").values[0] != 100);
  CHECK(contains(error_of([&] { model.at("none"); }), "no tensor \"none\""));
  model.metadata["classes"] = "many";
  CHECK(contains(error_of([&] { spec_of(model); }), "many"));
}

TEST_CASE("attacks: a text with defaults filled in says the same") {
  for (const AttackKind& kind : attack_kinds()) {
    CAPTURE(kind.name);
    CHECK_FALSE(kind.description.empty());
    const auto attacks = parse_attacks(kind.name);
    REQUIRE(attacks.size() == 1);
    CHECK(parse_attacks(attacks[0]->text()).at(0)->text() == attacks[0]->text());
  }
  CHECK(parse_attacks("prune:0.65")[0]->text() == "prune:fraction=0.65:scope=layer");
  CHECK(parse_attacks("prune:scope=global:fraction=0.65")[0]->text() == "prune:fraction=0.65:scope=global");
  CHECK(parse_attacks("finetune:2:mode=rtll")[0]->text() == "finetune:epochs=2:rate=0.01:mode=rtll");
  CHECK(parse_attacks("prune:0.9,finetune:5,permute").size() == 3);
}

TEST_CASE("attacks: what cannot be meant is refused") {
  for (const char* const text : {"",
                                 ",",
                                 "prune,",
                                 "shred",
                                 "prune:lots",
                                 "prune:0.5:0.6",
                                 "prune:1",
                                 "prune:-0.1",
                                 "prune:nan",
                                 "prune:depth=3",
                                 "prune:scope=net",
                                 "permute:3",
                                 "finetune:0",
                                 "finetune:1.5",
                                 "finetune:2:mode=all",
                                 "finetune:2:rate=-1",
                                 "quantise:1",
                                 "quantise:4:mode=odd",
                                 "overwrite:scheme=none",
                                 "overwrite:times=0",
                                 "overwrite:bits=3",
                                 "distil:alpha=2",
                                 "prune:0.5 ",
                                 "prune:=3",
                                 "rescale:0.5"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_attacks(text), UsageError);
  }
  CHECK(contains(error_of([] { parse_attacks("shred"); }), "prune-filters"));
  CHECK(contains(error_of([] { parse_attacks("prune:depth=3"); }), "fraction, scope"));
  const Model model = random_model(small_lenet, 1);
  CHECK_THROWS_AS(attacked(model, "finetune:1"), UsageError);
  CHECK_THROWS_AS(attacked(model, "transfer:1"), UsageError);
}

TEST_CASE("attacks: the seed decides, and a chain is its parts in order") {
  const Model model = random_model(small_wide, 5);
  for (const char* const text :
       {"prune-random:0.5", "noise:1", "shift:1.5", "permute", "rescale", "flip", "dummy"}) {
    CAPTURE(text);
    const Model once = attacked(model, text, 7);
    CHECK_FALSE(changed(model, once).empty());
    CHECK(changed(once, attacked(model, text, 7)).empty());
    CHECK_FALSE(changed(once, attacked(model, text, 8)).empty());
  }
  AttackContext context;
  context.seed = 7;
  const auto chain = parse_attacks("noise:0.5,permute,noise:0.5");
  AttackedModel step{model, nullptr};
  for (size_t i = 0; i < chain.size(); ++i) {
    AttackContext own = context;
    own.seed = attack_seed(7, i);
    step = chain[i]->apply(step, own);
  }
  CHECK(changed(step.model, apply_attacks(chain, {model, nullptr}, context).model).empty());
  CHECK(attack_seed(7, 0) != attack_seed(7, 1));
}
