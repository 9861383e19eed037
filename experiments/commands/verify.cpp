#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "experiments/command_line.h"
#include "experiments/commands/command.h"
#include "experiments/progress.h"
#include "watermark/realignment.h"
#include "watermark/verifier.h"

namespace dw {
namespace {

constexpr int not_proven_exit_code = 3;

struct Options {
  std::filesystem::path model, claim, key, original, predictions;
  VerifyOptions verify;
  CommonOptions common;
};

void print(const Verdict& verdict) {
  fmt::print("{}  {}\n", verdict.verdict(), verdict.reason);
  fmt::print("owner      {} ({})\n", verdict.owner, verdict.date);
  if (verdict.bits == 0) return;
  const bool from_predictions = verdict.layers.empty();
  fmt::print("{}     {} of {} match ({} {:.2f} %)\n", from_predictions ? "labels" : "bits  ",
             verdict.matches.matches, verdict.bits, from_predictions ? "wrong" : "bit error rate",
             100 * verdict.bit_error_rate);
  fmt::print("p-value    2^{:.1f} = 10^{:.1f}; owned at 2^{:.0f} or less\n", verdict.log2_p, verdict.log10_p,
             verdict.threshold_log2_p);
  if (verdict.null_keys > 0)
    fmt::print("null       {} strangers' keys match {:.1f} ± {:.1f}; fit to theory p = {:.2f}\n",
               verdict.null_keys, verdict.null_matches_mean, verdict.null_matches_deviation,
               verdict.null_uniform_p);
  for (const LayerReading& layer : verdict.layers) {
    const std::string reading = layer.present
                                    ? fmt::format("alone {:>4} of {} match, 2^{:.1f}", layer.matches.matches,
                                                  layer.matches.readable, layer.log2_p)
                                    : std::string("not in this file");
    fmt::print("layer      {:<36} {}\n", layer.name, reading);
  }
  fmt::print("model      {}\n", verdict.model_digest);
}

// A bar that learns its length from the first report.
ReadingProgress progress_bar() {
  struct State {
    std::unique_ptr<Progress> bar;
    uint64_t done = 0;
  };
  return [state = std::make_shared<State>()](uint64_t done, uint64_t total) {
    if (!state->bar) state->bar = std::make_unique<Progress>("strangers' keys", total, "weights");
    state->bar->advance(done - state->done);
    state->done = done;
  };
}

Verdict judge(const Claim& claim, const OwnerKey& key, const Options& options) {
  if (options.model.empty() == options.predictions.empty())
    throw UsageError("expected a model file or --predictions, one of the two");
  if (!options.predictions.empty()) {
    if (!options.original.empty()) throw UsageError("--align-to is for model files, not for --predictions");
    return verify_predictions(claim, key, options.predictions, options.verify);
  }
  const SafetensorsFile suspect = SafetensorsFile::open(options.model);
  if (options.original.empty()) return verify(claim, key, suspect, options.verify);
  const Realignment aligned = realign(read_model(options.model), read_model(options.original));
  VerifyOptions verify_options = options.verify;
  verify_options.alternatives *= aligned.alternatives;
  return verify(claim, key, aligned.model, options.model.string(), hex_digest(suspect.bytes()),
                verify_options);
}

int run(Options options) {
  apply_common_options(options.common);
  options.verify.seed = options.common.seed;
  options.verify.progress = progress_bar();
  const Claim claim = load_claim(options.claim);
  const OwnerKey key = load_key(options.key);
  const Verdict verdict = judge(claim, key, options);
  options.verify.progress = {};  // its bar ends here
  if (options.common.json) {
    fmt::print("{}\n", to_json(verdict));
  } else {
    print(verdict);
  }
  return verdict.owned ? 0 : not_proven_exit_code;
}

}  // namespace

void add_verify_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app =
      *program.add_subcommand("verify", "Whose is this model? Needs the weights file only, no data");
  app.add_option("model", options->model, "Suspect model file (safetensors)");
  app.add_option("--claim", options->claim, "The owner's public claim")->required();
  app.add_option("--key", options->key, "The owner's key that the claim commits to")->required();
  app.add_option("--align-to", options->original,
                 "The owner's own copy: undo permuted, rescaled, flipped and added channels before reading");
  app.add_option("--predictions", options->predictions,
                 "Instead of a model: its labels of the trigger pictures, as CSV (see `deepwater triggers`)");
  app.add_option("--null-keys", options->verify.null_keys,
                 "Strangers' keys scored to calibrate the null; 0 for none")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  app.add_option("--threshold", options->verify.threshold_log2_p,
                 "log2 of the p-value at which a model is OWNED")
      ->check(CLI::Range(-30000.0, 0.0))
      ->capture_default_str();
  add_common_options(app, options->common);
  app.footer(R"(Examples:
  deepwater verify --claim owner.claim.json --key owner.key suspect.safetensors
  deepwater verify --claim owner.claim.json --key owner.key --predictions answers.csv

Checks the claim's signature, that the key opens its commitment, reads the bits and says how likely a stranger's key
would match as many. Each layer's line says what it proves on its own, should a thief take only some. Exit code 0: OWNED; 3: NOT PROVEN; 2: usage; 1: error.)");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
