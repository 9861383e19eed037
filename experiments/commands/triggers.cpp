// Writes an owner's trigger pictures, so that they can be shown to a model that can only be asked.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "datasets/image_file.h"
#include "experiments/command_line.h"
#include "experiments/commands/command.h"
#include "kernels/error.h"
#include "watermark/scheme.h"
#include "watermark/trigger_set.h"

namespace dw {
namespace {

struct Options {
  std::filesystem::path claim, key, out;
  CommonOptions common;
};

// The last one: earlier networks of this key have pictures of their own where their number or size differs.
const Mark& last_trigger_mark(const Claim& claim) {
  const auto is_trigger_set = [](const SignedMark& entry) { return entry.mark.scheme == "trigger-set"; };
  const auto found = std::find_if(claim.marks.rbegin(), claim.marks.rend(), is_trigger_set);
  require(found != claim.marks.rend(),
          "none of the claim's {} marks is a trigger set: train with --scheme trigger-set",
          claim.marks.size());
  return found->mark;
}

int run(const Options& options) {
  apply_common_options(options.common);
  const Claim claim = load_claim(options.claim);
  const OwnerKey key = load_key(options.key);
  require(opens(key, claim), "{} does not open the commitment of {}", options.key.string(),
          options.claim.string());
  const TriggerSet set = trigger_set_of(key.master, claim.statement, last_trigger_mark(claim));
  require(!std::filesystem::exists(options.out) || std::filesystem::is_empty(options.out),
          "{} exists and is not an empty folder", options.out.string());
  const auto bytes = static_cast<size_t>(set.height * set.width * set.channels);
  for (int64_t i = 0; i < set.count; ++i) {
    const auto pixels = std::span<const uint8_t>(set.pixels).subspan(static_cast<size_t>(i) * bytes, bytes);
    const std::vector<std::byte> png = encode_png(pixels, set.height, set.width, set.channels);
    write_file_atomically(options.out / fmt::format("{:05}.png", i),
                          {reinterpret_cast<const char*>(png.data()), png.size()});
  }
  if (options.common.json) {
    const nlohmann::ordered_json result = {{"folder", options.out.string()},
                                           {"pictures", set.count},
                                           {"classes", set.classes},
                                           {"height", set.height},
                                           {"width", set.width}};
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("{}: {} pictures of {}x{}\n", options.out.string(), set.count, set.width, set.height);
  }
  return 0;
}

}  // namespace

void add_triggers_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app =
      *program.add_subcommand("triggers", "Write the pictures an owner asks a suspect model about");
  app.add_option("--claim", options->claim, "The owner's public claim, with a mark of scheme trigger-set")
      ->required();
  app.add_option("--key", options->key, "The owner's key")->required();
  app.add_option("--out", options->out, "Folder for 00000.png, 00001.png, ...")->required();
  add_common_options(app, options->common);
  app.footer(R"(Example, with `predict` in the place of somebody's API:
  deepwater train --net wrn-10-1 --data synthetic --key owner.key --scheme trigger-set --out out/model.safetensors
  deepwater triggers --claim owner.claim.json --key owner.key --out out/triggers
  deepwater predict out/model.safetensors --pictures out/triggers --out out/answers.csv
  deepwater verify --claim owner.claim.json --key owner.key --predictions out/answers.csv

Pictures are a secret until they are asked about; whoever sees them can learn to answer wrongly.)");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
