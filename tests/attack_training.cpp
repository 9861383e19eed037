// Attacks that train: what they may change, what they need, what they reach.
#include <doctest/doctest.h>

#include "tests/attack_support.h"
#include "watermark/embedder.h"

using namespace dw;
using namespace dw::test;

namespace {

AttackedModel trained(const Model& model, const std::string& text, const Task& task,
                      const Task* other = nullptr, uint64_t seed = 1) {
  AttackContext context;
  context.task = &task;
  context.other = other;
  context.seed = seed;
  return apply_attacks(parse_attacks(text), {model, nullptr}, context);
}

}  // namespace

TEST_CASE("attack finetune: the modes change what their names say") {
  const Model model = random_model(small_wide, 2);
  const Task task = drawn_task(small_wide);
  const std::vector<std::string> head{"fc.weight", "fc.bias"};
  CHECK(changed(model, trained(model, "finetune:1:mode=ftll", task).model) == head);
  CHECK(changed(model, trained(model, "finetune:1:mode=rtll", task).model) == head);
  CHECK(changed(model, trained(model, "finetune:1:mode=ftal", task).model).size() == model.tensors.size());
  // A rate too small to move anything far shows where training began.
  const auto distance = [&](const std::string& mode) {
    const Model after = trained(model, "finetune:1:rate=1e-7:mode=" + mode, task).model;
    return largest_difference(after.at("fc.weight").values, model.at("fc.weight").values);
  };
  CHECK(distance("ftal") < 1e-4);
  CHECK(distance("ftll") < 1e-4);
  CHECK(distance("rtal") > 1e-2);
  CHECK(distance("rtll") > 1e-2);
}

TEST_CASE("attack finetune: learns, the same way for the same seed") {
  const Model model = random_model(small_lenet, 2);
  const Task task = drawn_task(small_lenet);
  const AttackedModel once = trained(model, "finetune:20:rate=0.02", task);
  CHECK(evaluate_model(once.model, task, cpu).loss < 0.7 * evaluate_model(model, task, cpu).loss);
  CHECK(once.task == &task);
  CHECK(once.model.metadata == model.metadata);
  CHECK(changed(once.model, trained(model, "finetune:20:rate=0.02", task).model).empty());
}

TEST_CASE("attack finetune of the last layer leaves the rest trainable") {
  const Model model = random_model(small_lenet, 2);
  const Task task = drawn_task(small_lenet);
  CHECK(changed(model, trained(model, "finetune:1:mode=ftll,finetune:1", task).model).size() ==
        model.tensors.size());
}

TEST_CASE("attack transfer: the other task, its number of classes, a body that began where it was") {
  const Model model = random_model(small_wide, 2);
  const Task task = drawn_task(small_wide);
  NetworkSpec other_spec = small_wide;
  other_spec.classes = 7;
  const Task other = drawn_task(other_spec);
  const AttackedModel moved = trained(model, "transfer:1:rate=1e-7", task, &other);
  CHECK(moved.task == &other);
  CHECK(spec_of(moved.model).classes == 7);
  CHECK(moved.model.at("fc.weight").shape == Shape{7, 64});
  CHECK(largest_difference(moved.model.at("conv1.weight").values, model.at("conv1.weight").values) < 1e-4);
  CHECK(evaluate_model(moved.model, other, cpu).samples == 32);
  // What follows trains on the other task.
  CHECK(trained(model, "transfer:1,finetune:1", task, &other).task == &other);
}

TEST_CASE("attacks that train work on a network that has grown") {
  const Model model = random_model(small_wide, 2);
  const Task task = drawn_task(small_wide);
  const Model after = trained(model, "dummy:0.25,finetune:1,finetune:1:mode=rtll", task).model;
  CHECK(after.at("fc.weight").shape == Shape{4, 80});
  CHECK(evaluate_model(after, task, cpu).samples == 32);
  CHECK(spec_of(trained(model, "dummy:0.25,distil:1", task).model).name == "wrn-10-1");
}

TEST_CASE("attack overwrite: pulls the weights, more with a larger lambda") {
  const Model model = random_model(small_wide, 2);
  const Task task = drawn_task(small_wide);
  const auto after = [&](const std::string& options) {
    return trained(model, "overwrite:deepwater:bits=64:epochs=1:rate=0.001" + options, task).model;
  };
  const Model plain = after(":lambda=0"), once = after(""), strong = after(":lambda=50"),
              twice = after(":times=2");
  const std::string name = "block3.layer.0.conv2.weight";
  const double by_one = largest_difference(once.at(name).values, plain.at(name).values);
  const double by_fifty = largest_difference(strong.at(name).values, plain.at(name).values);
  CHECK(by_one > 0);
  CHECK(by_fifty > 10 * by_one);
  CHECK(largest_difference(twice.at(name).values, once.at(name).values) > 0);
}

TEST_CASE("attack distil: a fresh network that answers as the stolen one") {
  const Task task = drawn_task(small_lenet);
  const Model teacher = trained(random_model(small_lenet, 2), "finetune:20:rate=0.02", task).model;
  // At twice this rate the outcome hangs on rounding; at this one every seed learns.
  const Model student = trained(teacher, "distil:20:rate=0.01", task).model;
  CHECK(largest_difference(student.at("conv1.weight").values, teacher.at("conv1.weight").values) > 0.1);
  CHECK(evaluate_model(student, task, cpu).loss < 1.2);
  CHECK(student.metadata == teacher.metadata);
}

TEST_CASE("attack fine-prune: pruned, then trained") {
  const Model model = random_model(small_wide, 2);
  const Task task = drawn_task(small_wide);
  const Model after = trained(model, "fine-prune:0.9:epochs=1:rate=1e-7", task).model;
  const Model pruned = attacked(model, "prune:0.9");
  CHECK(changed(pruned, after).size() > 3);
  CHECK(largest_difference(after.at("conv1.weight").values, pruned.at("conv1.weight").values) < 1e-4);
}
