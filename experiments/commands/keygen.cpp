#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "experiments/command_line.h"
#include "experiments/commands/command.h"
#include "watermark/claim.h"

namespace dw {
namespace {

struct Options {
  std::string owner, note;
  std::filesystem::path out;
  int bits = 256;
  CommonOptions common;
};

int run(const Options& options) {
  apply_common_options(options.common);
  const OwnerKey key = generate_key(options.owner, options.bits, options.note);
  save_key_and_claim(key, options.out);
  const std::filesystem::path claim = claim_path_for(options.out);
  if (options.common.json) {
    const nlohmann::ordered_json result = {
        {"key", options.out.string()},  {"claim", claim.string()},
        {"owner", key.statement.owner}, {"date", key.statement.date},
        {"bits", key.statement.bits},   {"commitment", to_hex(commitment_of(key.master, key.statement))}};
    fmt::print("{}\n", result.dump(2));
  } else if (!options.common.quiet) {
    fmt::print("secret key    {}   keep it safe: whoever has it can claim what it marks\n",
               options.out.string());
    fmt::print("public claim  {}   publish or time-stamp it before the model ships\n", claim.string());
  }
  return 0;
}

}  // namespace

void add_keygen_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app = *program.add_subcommand("keygen", "Make an owner's secret key and public claim");
  app.add_option("--owner", options->owner, "Who you are: a name, an address, anything a judge can check")
      ->required();
  app.add_option("--out", options->out,
                 "The key file; the claim goes beside it (X.key, X.claim.json). Never overwritten")
      ->required();
  app.add_option("--bits", options->bits,
                 "Payload size: 64 to 32767; verify's default threshold is out of reach below 65")
      ->capture_default_str();
  app.add_option("--note", options->note, "A public note: which model, which purpose");
  add_common_options(app, options->common);
  app.get_option("--seed")->description("Not used here: keys come from the system's random generator");
  app.footer(R"(Example:
  deepwater keygen --owner "Ada Lovelace <ada@example.org>" --note "vision model 3" --out owner.key

The key file has mode 0600 and holds two secrets: the one that places the mark and the one that signs claims.
The claim commits to the key without revealing it. `train --key` adds a signed entry for every network marked.)");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
