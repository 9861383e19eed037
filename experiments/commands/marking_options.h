// What a command line says of how to mark: shared by every subcommand that embeds.
#pragma once

#include <string>
#include <vector>

#include "watermark/scheme.h"

namespace CLI {
class App;
}

namespace dw {

struct MarkingOptions {
  std::string scheme = "deepwater";
  std::vector<std::string> options = {};                             ///< "name=value"
  std::string strength = {}, lambda = {}, match = {}, density = {};  ///< the same by flags of their own
  std::vector<std::string> layers = {};

  bool operator==(const MarkingOptions&) const = default;
};

/// --scheme, --option, --strength, --lambda, --match, --density and --layers; `options` must outlive the
/// parsing.
void add_marking_options(CLI::App& app, MarkingOptions& options);

/// UsageError: not name=value, or a name twice. The scheme itself judges names and values.
SchemeOptions scheme_options_of(const MarkingOptions& options);

/// A line for each scheme with its options, for --help.
std::string scheme_help();

}  // namespace dw
