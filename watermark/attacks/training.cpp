#include "watermark/attacks/training.h"

#include <algorithm>

#include "core/optimizer.h"
#include "kernels/error.h"

namespace dw {

std::vector<AttackOption> training_options(const std::string& epochs, const std::string& rate) {
  return {{"epochs", epochs}, {"rate", rate}};
}

AttackTraining training_from(const AttackArguments& arguments) {
  return {.epochs = arguments.integer("epochs", 1, 100'000), .rate = arguments.number("rate", 1e-9, 100)};
}

const Task& task_for(const AttackedModel& victim, const AttackContext& context) {
  const Task* const task = victim.task != nullptr ? victim.task : context.task;
  if (task == nullptr) throw UsageError("this attack trains: it needs data (--data)");
  return *task;
}

std::unique_ptr<BatchSource> training_batches(const Task& task, const AttackContext& context) {
  constexpr int64_t batch_size = 128;
  return task.training(batch_size, context.seed);
}

std::vector<std::string> head_of(const Module& network) {
  const std::vector<NamedTensor> parameters = network.parameters();
  const auto last = std::find_if(parameters.rbegin(), parameters.rend(),
                                 [](const NamedTensor& entry) { return entry.tensor.rank() == 2; });
  require(last != parameters.rend(), "the network has no fully connected layer at its end");
  std::vector<std::string> names;
  for (auto entry = last.base() - 1; entry != parameters.end(); ++entry) names.push_back(entry->name);
  return names;
}

void train_for_attack(Module& network, const Task& task, const AttackContext& context,
                      const AttackTraining& training, GradientTerm* term, BatchSource* batches) {
  std::vector<NamedTensor> parameters = network.parameters();
  if (training.head_only) {
    const std::vector<std::string> head = head_of(network);
    std::erase_if(parameters, [&](const NamedTensor& entry) {
      const bool stays = std::ranges::find(head, entry.name) == head.end();
      if (stays) entry.tensor.set_requires_grad(false);
      return stays;
    });
  }
  std::vector<Tensor> statistics;
  for (const auto& [name, tensor] : network.buffers()) statistics.push_back(tensor.clone());

  Sgd optimizer(parameters, {.momentum = 0.9, .nesterov = true, .weight_decay = training.weight_decay});
  TrainingPlan plan;
  plan.epochs = training.epochs;
  plan.learning_rate = training.rate;
  plan.schedule = schedule_named(training.schedule);
  plan.seed = context.seed;
  plan.loss = training.loss;
  TrainingObserver observer;
  if (context.progress)
    observer.on_step = [&](int64_t step, int64_t steps, double, double) { context.progress(step, steps); };
  std::unique_ptr<BatchSource> own;
  if (batches == nullptr) {
    own = training_batches(task, context);
    batches = own.get();
  }
  train(network, optimizer, *batches, nullptr, term, plan, observer);

  if (training.head_only) {
    const std::vector<NamedTensor> buffers = network.buffers();
    for (size_t i = 0; i < buffers.size(); ++i) buffers[i].tensor.copy_from(statistics[i]);
    for (const NamedTensor& entry : network.parameters()) entry.tensor.set_requires_grad(true);
  }
}

}  // namespace dw
