#include "experiments/command_line.h"

#include <omp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <new>
#include <string_view>
#include <thread>

#include "experiments/commit.h"
#include "experiments/progress.h"
#include "experiments/text.h"
#include "kernels/device.h"
#include "kernels/error.h"
#include "kernels/precision.h"

namespace dw {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the signal handler stores into it");

constexpr std::array caught_signals{SIGINT, SIGTERM};
std::array<struct sigaction, caught_signals.size()> previous_actions;
int catchers = 0;

extern "C" void handle_interrupt(int) {
  interrupted = true;
  constexpr std::string_view message =
      "\ndeepwater: stopping after this step; press Ctrl-C again to stop at once\n";
  // A lost message changes nothing.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, message.data(), message.size());
}

int report_failure(const std::string& message, int exit_code) {
  fmt::print(stderr, "deepwater: {}\n", one_line(message));
  return exit_code;
}

// Buffered results can still fail to reach a full disk.
bool flush_results() {
  std::cout.flush();
  return std::fflush(stdout) == 0 && !std::ferror(stdout) && std::cout.good();
}

// CLI11 2.1 takes "-1" and numbers beyond 64 bits for an unsigned option, wrapped or clamped.
std::string check_unsigned(const std::string& text) {
  uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure == std::errc() && end == text.data() + text.size()) return {};
  return fmt::format("{} is not a whole number from 0 to {}", text, std::numeric_limits<uint64_t>::max());
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown CPU";
}

std::string date_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts)};
}

}  // namespace

void add_common_options(CLI::App& app, CommonOptions& options) {
  app.add_option("--seed", options.seed, "Seed of everything random")
      ->check(check_unsigned)
      ->capture_default_str();
  app.add_option("--device", options.device, "Where to compute: auto takes a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cuda", "cpu"}))
      ->capture_default_str();
  app.add_option(
         "--precision", options.precision,
         "fp32; tf32: on a GPU faster, coarser products of float32 values; bf16: training computes in "
         "bfloat16, weights stay float32")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0: one per core")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_flag("--json", options.json, "Print the result as one JSON object on stdout");
  app.add_flag("--quiet", options.quiet, "No progress and no messages");
}

void apply_common_options(const CommonOptions& options) {
  if (options.threads > 0) set_thread_count(options.threads);
  set_precision(precision_named(options.precision));
  set_progress_quiet(options.quiet);
}

int run_program(const std::function<int()>& body) {
  try {
    const int exit_code = body();
    if (!flush_results()) return report_failure("cannot write the result to standard output", 1);
    return exit_code;
  } catch (const UsageError& error) {
    return report_failure(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return report_failure("out of memory; try a smaller batch or network", 1);
  } catch (const std::exception& error) {
    return report_failure(error.what(), 1);
  } catch (...) {
    return report_failure("unknown failure", 1);
  }
}

int run_program(CLI::App& app, int argc, const char* const* argv, const std::function<int()>& body) {
  return run_program([&] {
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& request) {
      return app.exit(request);
    } catch (const CLI::ParseError& error) {
      throw UsageError(fmt::format("{} (see --help)", error.what()));
    }
    return body();
  });
}

std::string typed_command(const std::string& program, int argc, const char* const* argv) {
  std::string command = program;
  for (int i = 1; i < argc; ++i) command += std::string(" ") + argv[i];
  return command;
}

CatchInterrupts::CatchInterrupts() {
  if (catchers++ > 0) return;
  interrupted = false;
  struct sigaction action {};
  action.sa_handler = handle_interrupt;
  // Back to the default once it ran, so that a second signal ends the program.
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  ::sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < caught_signals.size(); ++i)
    ::sigaction(caught_signals[i], &action, &previous_actions[i]);
}

CatchInterrupts::~CatchInterrupts() {
  if (--catchers > 0) return;
  for (size_t i = 0; i < caught_signals.size(); ++i)
    ::sigaction(caught_signals[i], &previous_actions[i], nullptr);
}

bool stop_requested() {
  return interrupted;
}

Environment describe_environment() {
  Environment environment;
  environment.cpu = cpu_model();
  environment.cores = std::max(1U, std::thread::hardware_concurrency());
  environment.threads = static_cast<unsigned>(omp_get_max_threads());
#if defined(__clang__)
  environment.compiler = fmt::format("clang {}.{}", __clang_major__, __clang_minor__);
#else
  environment.compiler = fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
  environment.version = project_version;
  environment.commit = source_commit;
  environment.date = date_now();
  return environment;
}

std::vector<std::pair<std::string, std::string>> environment_rows(const Environment& environment) {
  std::vector<std::pair<std::string, std::string>> rows{
      {"Processor", fmt::format("{}, {} cores, {} threads used", environment.cpu, environment.cores,
                                environment.threads)}};
  if (const std::string gpu = gpu_description(); !gpu.empty()) rows.emplace_back("GPU", gpu);
  rows.emplace_back("Compiler", environment.compiler);
  rows.emplace_back("Version", fmt::format("{}, commit {}", environment.version, environment.commit));
  rows.emplace_back("Date", environment.date);
  return rows;
}

}  // namespace dw
