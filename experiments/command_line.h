// What every executable shares: the options they all take, how failures become one line and an exit code,
// Ctrl-C, and the description of the machine that goes into reports.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
}

namespace dw {

struct CommonOptions {
  uint64_t seed = 0;
  std::string device = "auto";     ///< "auto", "cuda" or "cpu"
  std::string precision = "fp32";  ///< "fp32", "tf32" or "bf16" (kernels/precision.h)
  int threads = 0;                 ///< CPU threads; 0: one per core
  bool json = false;               ///< the result as one JSON object on stdout
  bool quiet = false;              ///< no progress, no messages
};

/// Adds --seed, --device, --precision, --threads, --json and --quiet to `app`; `options` must outlive the
/// parsing.
void add_common_options(CLI::App& app, CommonOptions& options);

/// Puts --precision, --threads and --quiet into effect.
void apply_common_options(const CommonOptions& options);

/// Runs `body` and returns the program's exit code: what `body` returned; 2 for UsageError; 1 for any other
/// exception and for results that could not be written to stdout. A failure is one line on stderr.
int run_program(const std::function<int()>& body);

/// Parses the arguments, then runs `body` as above. --help and --version print and return 0; wrong arguments
/// are one line on stderr and 2.
int run_program(CLI::App& app, int argc, const char* const* argv, const std::function<int()>& body);

/// The command line as it was typed, for reports; `program` in place of the path it was started by.
std::string typed_command(const std::string& program, int argc, const char* const* argv);

/// While one lives, the first Ctrl-C (or SIGTERM) only makes stop_requested() true, so that a long loop can
/// save its work; a second one ends the program as usual. An inner one changes
/// nothing.
class CatchInterrupts {
 public:
  CatchInterrupts();
  CatchInterrupts(const CatchInterrupts&) = delete;
  CatchInterrupts& operator=(const CatchInterrupts&) = delete;
  ~CatchInterrupts();
};

/// True once an interrupt was caught. Async-signal-safe, callable from any thread.
bool stop_requested();

struct Environment {
  std::string cpu;       ///< model name, or "unknown CPU"
  unsigned cores = 0;    ///< logical cores this process may use
  unsigned threads = 0;  ///< OpenMP threads in use
  std::string compiler;  ///< "g++ 12.2.0"
  std::string version;   ///< of this project, "0.1.0"
  std::string commit;    ///< "a26b047d1c3e", with "+changes" where the checkout was modified; else "unknown"
  std::string date;      ///< now, "2024-05-17 09:30 UTC"
};

Environment describe_environment();

/// The environment as label and value pairs for a report, and the GPU where there is one.
std::vector<std::pair<std::string, std::string>> environment_rows(const Environment& environment);

}  // namespace dw
