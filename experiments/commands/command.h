// The subcommands of the deepwater program. To add one: its file here, its line in the table of command.cpp.
#pragma once

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace dw {

/// What the chosen subcommand does; returns the exit code.
using Action = std::function<int()>;

/// Each adds its subcommand to `program`; when the user chose it, parsing sets `action`.
void add_attack_command(CLI::App& program, Action& action);
void add_bench_command(CLI::App& program, Action& action);
void add_data_command(CLI::App& program, Action& action);
void add_demo_command(CLI::App& program, Action& action);
void add_embed_command(CLI::App& program, Action& action);
void add_eval_command(CLI::App& program, Action& action);
void add_inspect_command(CLI::App& program, Action& action);
void add_keygen_command(CLI::App& program, Action& action);
void add_predict_command(CLI::App& program, Action& action);
void add_prune_command(CLI::App& program, Action& action);
void add_reproduce_command(CLI::App& program, Action& action);
void add_train_command(CLI::App& program, Action& action);
void add_triggers_command(CLI::App& program, Action& action);
void add_verify_command(CLI::App& program, Action& action);

/// The whole program: parses, runs the chosen subcommand, returns the exit code (0 done, 1 failure, 2 usage,
/// and what a subcommand says of its own).
int run_deepwater(int argc, const char* const* argv);

}  // namespace dw
