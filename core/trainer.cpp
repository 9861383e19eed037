#include "core/trainer.h"

#include <chrono>
#include <cmath>

#include "core/checkpoint.h"
#include "core/files.h"
#include "core/ops.h"
#include "core/tape.h"
#include "kernels/profile.h"

namespace dw {
namespace {

std::filesystem::path with_suffix(const std::filesystem::path& path, const std::string& suffix) {
  return path.parent_path() / (path.stem().string() + suffix + path.extension().string());
}

Device device_of(const Module& module) {
  return module.parameters().at(0).tensor.device();
}

class Run {
 public:
  Run(Module& module, Optimizer& optimizer, BatchSource& batches, BatchSource* test, GradientTerm* term,
      const TrainingPlan& plan, const TrainingObserver& observer)
      : module_(module),
        optimizer_(optimizer),
        batches_(batches),
        test_(test),
        term_(term),
        plan_(plan),
        observer_(observer),
        device_(device_of(module)),
        training_step_({.network = module,
                        .optimizer = optimizer,
                        .batches = batches,
                        .term = term,
                        .loss = plan.loss,
                        .seed = plan.seed,
                        .capture = plan.graph.value_or(device_.type == DeviceType::cuda),
                        .activations = plan.activations}),
        steps_an_epoch_(batches.batches()),
        steps_(plan.epochs * batches.batches()) {}

  TrainingResult run() {
    if (plan_.resume && writes() && std::filesystem::exists(checkpoint_path(plan_.model_path))) {
      position_ = load_checkpoint(checkpoint_path(plan_.model_path), module_, optimizer_, plan_.fingerprint);
      require(position_.step <= steps_, "the checkpoint is at step {} of a run of {} steps", position_.step,
              steps_);
      has_checkpoint_ = true;
      training_step_.totals().restore(
          {position_.epoch_loss, position_.epoch_correct, position_.epoch_samples});
    }
    if (observer_.on_start) observer_.on_start();
    module_.train();
    started_ = Clock::now();
    batches_.seek(position_.step / steps_an_epoch_, position_.step % steps_an_epoch_);
    while (position_.step < steps_) {
      step();
      if (position_.step % steps_an_epoch_ == 0) {
        finish_epoch();
        if (position_.step < steps_) batches_.seek(position_.step / steps_an_epoch_, 0);
      }
      if (position_.step < steps_ && observer_.stop_requested && observer_.stop_requested()) {
        remember_epoch();
        checkpoint();
        return {false, position_.epochs};
      }
    }
    return {true, position_.epochs};
  }

 private:
  using Clock = std::chrono::steady_clock;

  bool writes() const { return !plan_.model_path.empty(); }

  double learning_rate() const {
    return plan_.learning_rate *
           plan_.schedule(static_cast<double>(position_.step) / static_cast<double>(steps_));
  }

  void step() {
    const ProfiledStep profiled(training_step);
    last_rate_ = learning_rate();
    training_step_.run(position_.step, last_rate_);
    ++position_.step;
    // Reading the sums waits for the device: on the CPU that is free, on CUDA it is done now and then.
    constexpr int64_t steps_between_reads = 32;
    if (device_ == cpu || position_.step % steps_between_reads == 0) {
      const Totals::Values sums = checked_totals();
      if (observer_.on_step) observer_.on_step(position_.step, steps_, sums.mean_loss(), sums.accuracy());
    }
  }

  Totals::Values checked_totals() const {
    const Totals::Values sums = training_step_.totals().values();
    if (!std::isfinite(sums.loss)) {
      fail("the loss became {} in epoch {} at step {} of {} (learning rate {:.4g}): training stopped{}",
           sums.loss, (position_.step - 1) / steps_an_epoch_ + 1, position_.step, steps_, last_rate_,
           what_is_kept());
    }
    return sums;
  }

  std::string what_is_kept() const {
    if (!has_checkpoint_) return "";
    return "; the last good checkpoint is " + checkpoint_path(plan_.model_path).string();
  }

  void finish_epoch() {
    const Totals::Values sums = checked_totals();
    EpochMetrics metrics;
    metrics.epoch = position_.step / steps_an_epoch_;
    metrics.learning_rate = last_rate_;
    metrics.train_loss = sums.mean_loss();
    metrics.train_accuracy = sums.accuracy();
    require_finite_parameters();
    if (term_ != nullptr) metrics.mark_loss = term_->loss();
    if (test_ != nullptr) {
      const Evaluation evaluation = evaluate(module_, *test_);
      metrics.test_loss = evaluation.loss;
      metrics.test_accuracy = evaluation.accuracy;
      require(std::isfinite(evaluation.loss), "the test loss became {} after epoch {}: training stopped{}",
              evaluation.loss, metrics.epoch, what_is_kept());
    }
    metrics.seconds = position_.epoch_seconds + seconds_since_start();
    position_.epochs.push_back(metrics);
    position_.epoch_loss = position_.epoch_correct = position_.epoch_samples = position_.epoch_seconds = 0;
    training_step_.totals().reset();
    started_ = Clock::now();
    if (writes()) write_epoch(metrics);
    if (observer_.on_epoch) observer_.on_epoch(metrics);
  }

  // The loss is that of the forward pass: the update after it can still have broken the parameters.
  void require_finite_parameters() const {
    for (const auto& [name, tensor] : module_.state()) {
      require(all_finite(tensor), "{} holds a value that is not finite after epoch {}: training stopped{}",
              name, position_.step / steps_an_epoch_, what_is_kept());
    }
  }

  void write_epoch(const EpochMetrics& metrics) {
    if (test_ != nullptr && metrics.test_accuracy > position_.best_accuracy) {
      position_.best_accuracy = metrics.test_accuracy;
      save_module(module_, best_model_path(plan_.model_path), metadata(metrics));
    }
    if (position_.step == steps_) save_module(module_, plan_.model_path, metadata(metrics));
    std::string lines;
    for (const EpochMetrics& epoch : position_.epochs) lines += to_json(epoch) + "\n";
    write_file_atomically(metrics_path(plan_.model_path), lines);
    checkpoint();
  }

  std::map<std::string, std::string> metadata(const EpochMetrics& metrics) const {
    std::map<std::string, std::string> result = plan_.metadata;
    result["epoch"] = std::to_string(metrics.epoch);
    if (test_ != nullptr) result["test_accuracy"] = fmt::format("{:.4f}", metrics.test_accuracy);
    return result;
  }

  void remember_epoch() {
    const Totals::Values sums = training_step_.totals().values();
    position_.epoch_loss = sums.loss;
    position_.epoch_correct = sums.correct;
    position_.epoch_samples = sums.samples;
    position_.epoch_seconds += seconds_since_start();
  }

  void checkpoint() {
    if (!writes()) return;
    save_checkpoint(checkpoint_path(plan_.model_path), module_, optimizer_, position_, plan_.fingerprint);
    has_checkpoint_ = true;
  }

  double seconds_since_start() const {
    return std::chrono::duration<double>(Clock::now() - started_).count();
  }

  Module& module_;
  Optimizer& optimizer_;
  BatchSource& batches_;
  BatchSource* test_;
  GradientTerm* term_;
  const TrainingPlan& plan_;
  const TrainingObserver& observer_;
  TrainingPosition position_;
  Device device_;
  TrainingStep training_step_;
  int64_t steps_an_epoch_;
  int64_t steps_;
  double last_rate_ = 0;
  bool has_checkpoint_ = false;  // of this run: a file of that name may be an older run's
  Clock::time_point started_;
};

}  // namespace

std::filesystem::path best_model_path(const std::filesystem::path& model_path) {
  return with_suffix(model_path, ".best");
}

std::filesystem::path checkpoint_path(const std::filesystem::path& model_path) {
  return with_suffix(model_path, ".checkpoint");
}

std::filesystem::path metrics_path(const std::filesystem::path& model_path) {
  return model_path.parent_path() / "metrics.jsonl";
}

Evaluation evaluate(Module& module, BatchSource& source,
                    const std::function<void(int64_t, int64_t)>& progress) {
  const NoGrad pause;
  const bool was_training = module.training();
  module.train(false);
  Totals totals(device_of(module));
  source.seek(0, 0);
  const int64_t count = source.batches();
  for (int64_t i = 0; i < count; ++i) {
    const ProfiledStep profiled(evaluation_step);
    const Batch batch = source.next();
    const Tensor logits = module(batch.images);
    totals.add(cross_entropy(logits, batch.labels), logits, batch.labels);
    if (progress) progress(i + 1, count);
  }
  module.train(was_training);
  const Totals::Values sums = totals.values();
  return {sums.mean_loss(), sums.accuracy(), static_cast<int64_t>(sums.samples)};
}

TrainingResult train(Module& module, Optimizer& optimizer, BatchSource& batches, BatchSource* test,
                     GradientTerm* term, const TrainingPlan& plan, const TrainingObserver& observer) {
  require(plan.epochs > 0, "training expects at least one epoch, found {}", plan.epochs);
  return Run(module, optimizer, batches, test, term, plan, observer).run();
}

}  // namespace dw
