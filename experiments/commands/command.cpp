#include "experiments/commands/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>

#include "experiments/command_line.h"
#include "experiments/commit.h"
#include "kernels/error.h"

namespace dw {
namespace {

constexpr std::array commands{
    add_demo_command,    add_keygen_command, add_train_command,     add_embed_command,   add_prune_command,
    add_attack_command,  add_verify_command, add_triggers_command,  add_predict_command, add_eval_command,
    add_inspect_command, add_data_command,   add_reproduce_command, add_bench_command};

constexpr const char* footer = R"(A first session, on drawn pictures:
  deepwater keygen --owner "Ada Lovelace" --out out/owner.key
  deepwater train --net wrn-10-1 --data synthetic --key out/owner.key --out out/marked/model.safetensors
  deepwater prune --fraction 0.9 out/marked/model.safetensors out/pruned.safetensors
  deepwater verify --claim out/owner.claim.json --key out/owner.key out/pruned.safetensors

Exit codes: 0 done (verify: OWNED), 1 failure, 2 wrong usage, 3 verify: NOT PROVEN.)";

}  // namespace

int run_deepwater(int argc, const char* const* argv) {
  CLI::App program(
      "Trains neural networks that carry their owner's mark in the distribution of their weights, and proves "
      "it.",
      "deepwater");
  program.set_version_flag("--version", fmt::format("deepwater {} ({})", project_version, source_commit));
  program.footer(footer);
  // Asking CLI11 to require one would hide the name of a subcommand that does not exist.
  program.require_subcommand(0, 1);
  Action action;
  for (const auto add : commands) add(program, action);
  return run_program(program, argc, argv, [&] {
    if (!action) throw UsageError("expected a subcommand, found none (see --help)");
    return action();
  });
}

}  // namespace dw
