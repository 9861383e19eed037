// The thief trains: on the same data, on other data, with a mark of their own, or a fresh network from the
// stolen one's answers.
#include <algorithm>
#include <array>

#include "core/distillation.h"
#include "core/ops.h"
#include "kernels/error.h"
#include "watermark/attacks/training.h"
#include "watermark/pruning.h"
#include "watermark/scheme.h"

namespace dw {
namespace {

std::unique_ptr<Module> on_device(const Model& model, const AttackContext& context) {
  std::unique_ptr<Module> network = network_of(model);
  network->to(context.device);
  return network;
}

// `model` with a last layer of `classes` outputs as a fresh network has it.
Model with_fresh_head(const Model& model, int64_t classes, uint64_t seed) {
  Model result = model;
  NetworkSpec spec = spec_of(model);
  spec.classes = classes;
  const std::unique_ptr<Module> fresh = make_network(spec);
  const std::vector<std::string> head = head_of(*fresh);
  std::map<std::string, Shape> shapes;
  for (const std::string& name : head) {
    Shape shape = model.at(name).shape;  // its inputs may be more than the name says
    shape.front() = classes;
    shapes[name] = shape;
  }
  fresh->resize(shapes);
  fresh->initialize(seed);
  const Model values = model_of(*fresh, {});
  for (const std::string& name : head) result.at(name) = values.at(name);
  result.metadata["classes"] = std::to_string(classes);
  return result;
}

AttackAction make_finetune(const AttackArguments& arguments) {
  AttackTraining training = training_from(arguments);
  const std::string& mode = arguments.text("mode");
  const bool fresh_head = mode.starts_with("rt");
  training.head_only = mode.ends_with("ll");
  return [=](const AttackedModel& victim, const AttackContext& context) {
    const Task& task = task_for(victim, context);
    const std::unique_ptr<Module> network =
        on_device(fresh_head ? with_fresh_head(victim.model, spec_of(victim.model).classes, context.seed)
                             : victim.model,
                  context);
    train_for_attack(*network, task, context, training);
    return AttackedModel{model_of(*network, victim.model.metadata), &task};
  };
}

AttackAction make_transfer(const AttackArguments& arguments) {
  const AttackTraining training = training_from(arguments);
  return [=](const AttackedModel& victim, const AttackContext& context) {
    if (context.other == nullptr)
      throw UsageError("attack transfer: it needs the data to transfer to (--other)");
    const Model start = with_fresh_head(victim.model, context.other->classes, context.seed);
    const std::unique_ptr<Module> network = on_device(start, context);
    train_for_attack(*network, *context.other, context, training);
    return AttackedModel{model_of(*network, start.metadata), context.other};
  };
}

AttackAction make_fine_prune(const AttackArguments& arguments) {
  const AttackTraining training = training_from(arguments);
  const double fraction = arguments.number("fraction", 0, 0.99999);
  const PruningScope scope = parse_pruning_scope(arguments.text("scope"));
  return [=](const AttackedModel& victim, const AttackContext& context) {
    const Task& task = task_for(victim, context);
    Model pruned = victim.model;
    prune_model(pruned, fraction, scope);
    const std::unique_ptr<Module> network = on_device(pruned, context);
    train_for_attack(*network, task, context, training);
    return AttackedModel{model_of(*network, victim.model.metadata), &task};
  };
}

// A scheme's own pull on the weights, made `factor` times as strong.
class StrongerTerm : public GradientTerm {
 public:
  StrongerTerm(GradientTerm& term, const Module& network, double factor)
      : term_(term), parameters_(network.parameters()), factor_(factor) {}

  void add_gradients() override {
    std::vector<Tensor> before;
    for (const auto& [name, tensor] : parameters_) before.push_back(tensor.grad().clone());
    term_.add_gradients();
    for (size_t i = 0; i < before.size(); ++i) {
      const Tensor& gradient = parameters_[i].tensor.grad();
      gradient.copy_from(add(before[i], multiply(subtract(gradient, before[i]), factor_)));
    }
  }
  double loss() override { return factor_ * term_.loss(); }
  bool can_be_captured() const override { return term_.can_be_captured(); }
  void bind() override { term_.bind(); }

 private:
  GradientTerm& term_;
  std::vector<NamedTensor> parameters_;
  double factor_;
};

Digest thief_digest(uint64_t seed, std::string_view purpose) {
  const std::vector<uint8_t> bytes = CanonicalBytes().text("deepwater thief").text(purpose).u64(seed).bytes();
  return Hasher().update(std::span<const uint8_t>(bytes)).finish();
}

OwnerKey thief_key(uint64_t seed, int bits) {
  OwnerKey key{Secret(thief_digest(seed, "master")), Secret(thief_digest(seed, "signing")), {}};
  key.statement = {"Thief", "2026-01-01T00:00:00Z", "", public_key_of(*key.signing_seed), bits};
  return key;
}

AttackAction make_overwrite(const AttackArguments& arguments) {
  const AttackTraining training = training_from(arguments);
  const Scheme& scheme = scheme_named(arguments.text("scheme"));
  const double factor = arguments.number("lambda", 0, 1e9);
  const int64_t times = arguments.integer("times", 1, 1000);
  const int bits = static_cast<int>(arguments.integer("bits", minimum_bits, maximum_bits));
  return [=, &scheme](const AttackedModel& victim, const AttackContext& context) {
    const Task& task = task_for(victim, context);
    const NetworkSpec spec = spec_of(victim.model);
    SchemeOptions options;
    options.pictures = {.channels = spec.channels, .height = spec.height, .width = spec.width};
    options.learning_rate = training.rate;
    options.sparing = false;
    const std::unique_ptr<Module> network = on_device(victim.model, context);
    for (int64_t time = 0; time < times; ++time) {
      AttackContext own = context;
      own.seed = attack_seed(context.seed, static_cast<size_t>(time));
      const std::unique_ptr<Embedding> embedding =
          scheme.embed(*network, spec.name, thief_key(own.seed, bits), options);
      std::unique_ptr<StrongerTerm> term;
      if (embedding->term() != nullptr)
        term = std::make_unique<StrongerTerm>(*embedding->term(), *network, factor);
      const std::unique_ptr<BatchSource> batches = training_batches(task, own);
      const std::unique_ptr<BatchSource> mixed = embedding->batches(*batches);
      train_for_attack(*network, task, own, training, term.get(), mixed ? mixed.get() : batches.get());
    }
    return AttackedModel{model_of(*network, victim.model.metadata), &task};
  };
}

AttackAction make_distil(const AttackArguments& arguments) {
  AttackTraining training = training_from(arguments);
  training.schedule = "one-cycle";
  DistillationOptions options;
  options.temperature = arguments.number("temperature", 1e-3, 1e3);
  options.alpha = arguments.number("alpha", 0, 1);
  options.soft_only = options.alpha == 1;
  return [=](const AttackedModel& victim, const AttackContext& context) {
    const Task& task = task_for(victim, context);
    const std::unique_ptr<Module> teacher = on_device(victim.model, context);
    const std::unique_ptr<Module> student = make_network(spec_of(victim.model));
    student->initialize(context.seed);
    student->to(context.device);
    AttackTraining own = training;
    own.loss = distillation_from(*teacher, options);
    train_for_attack(*student, task, context, own);
    std::map<std::string, std::string> metadata = victim.model.metadata;
    metadata.erase("shapes");
    return AttackedModel{model_of(*student, metadata), &task};
  };
}

std::vector<AttackOption> with(std::vector<AttackOption> options, const std::vector<AttackOption>& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

}  // namespace

std::span<const AttackDefinition> training_attacks() {
  static const std::array<AttackDefinition, 5> list{{
      {"finetune", "trained on, all layers or the last; rt: the last starts afresh",
       with(training_options("5", "0.01"), {{"mode", "ftal", "ftal|ftll|rtal|rtll"}}), make_finetune},
      {"transfer", "a new last layer, all layers trained on the other data", training_options("5", "0.05"),
       make_transfer},
      {"fine-prune", "the smallest weights become zero, then all are trained on (Liu et al. 2018)",
       with({{"fraction", "0.9"}, {"scope", "layer", "layer|global"}}, training_options("3", "0.01")),
       make_fine_prune},
      {"overwrite",
       "trained on with a mark of the thief's own; lambda multiplies that scheme's, times repeats it",
       with({{"scheme", "deepwater", "*"}, {"lambda", "1"}, {"times", "1"}, {"bits", "256"}},
            training_options("3", "0.02")),
       make_overwrite},
      {"distil", "a fresh network of the same kind taught by the stolen one; alpha 1: without true labels",
       with(training_options("8", "0.1"), {{"temperature", "4"}, {"alpha", "1"}}), make_distil},
  }};
  return list;
}

}  // namespace dw
