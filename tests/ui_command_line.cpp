// The command line's contract: exit codes, one line per failure, checked options, Ctrl-C.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "experiments/command_line.h"
#include "kernels/error.h"

using namespace dw;

namespace {

// What `action` writes to stderr.
template <typename Action>
std::string captured_stderr(Action action) {
  std::FILE* file = std::tmpfile();
  std::fflush(stderr);
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(::fileno(file), STDERR_FILENO);
  action();
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::rewind(file);
  std::string text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

struct Outcome {
  int exit_code = -1;
  std::string message;
  CommonOptions options;
  bool body_ran = false;
};

Outcome parse(std::vector<const char*> arguments) {
  Outcome outcome;
  CLI::App app("test", "deepwater");
  add_common_options(app, outcome.options);
  arguments.insert(arguments.begin(), "deepwater");
  outcome.message = captured_stderr([&] {
    outcome.exit_code = run_program(app, static_cast<int>(arguments.size()), arguments.data(), [&] {
      outcome.body_ran = true;
      return 0;
    });
  });
  return outcome;
}

Outcome run(const std::function<int()>& body) {
  Outcome outcome;
  outcome.message = captured_stderr([&] { outcome.exit_code = run_program(body); });
  return outcome;
}

}  // namespace

TEST_CASE("ui command line: exceptions become one line and an exit code") {
  CHECK(run([] { return 3; }).exit_code == 3);
  const Outcome usage = run([]() -> int { throw UsageError("--bits 7, expected 64 to 32767"); });
  CHECK(usage.exit_code == 2);
  CHECK(usage.message == "deepwater: --bits 7, expected 64 to 32767\n");
  const Outcome error = run([]() -> int { throw Error("a.key is truncated\nat byte 7"); });
  CHECK(error.exit_code == 1);
  CHECK(error.message == "deepwater: a.key is truncated at byte 7\n");
  CHECK(run([]() -> int { throw std::runtime_error("x"); }).exit_code == 1);
  const Outcome memory = run([]() -> int { throw std::bad_alloc(); });
  CHECK(memory.exit_code == 1);
  CHECK(memory.message.starts_with("deepwater: out of memory"));
  CHECK(run([]() -> int { throw 7; }).exit_code == 1);
}

TEST_CASE("ui command line: a result that cannot be written is a failure") {
  const int saved = ::dup(STDOUT_FILENO);
  const int full = ::open("/dev/full", O_WRONLY);
  REQUIRE(full >= 0);
  std::fflush(stdout);
  ::dup2(full, STDOUT_FILENO);
  const Outcome outcome = run([] {
    std::printf("{}");
    return 0;
  });
  ::dup2(saved, STDOUT_FILENO);
  ::close(full);
  ::close(saved);
  std::clearerr(stdout);
  std::cout.clear();
  CHECK(outcome.exit_code == 1);
  CHECK(outcome.message == "deepwater: cannot write the result to standard output\n");
}

TEST_CASE("ui command line: common options are read and checked") {
  const Outcome good =
      parse({"--seed", "18446744073709551615", "--device", "cpu", "--threads=2", "--json", "--quiet"});
  CHECK(good.exit_code == 0);
  CHECK(good.body_ran);
  CHECK(good.options.seed == 18446744073709551615ULL);
  CHECK(good.options.device == "cpu");
  CHECK(good.options.threads == 2);
  CHECK(good.options.json);
  CHECK(good.options.quiet);

  for (const std::vector<const char*>& wrong : {std::vector<const char*>{"--device", "tpu"},
                                                {"--threads", "-1"},
                                                {"--threads", "many"},
                                                {"--seed", "-1"},
                                                {"--seed", "1.5"},
                                                {"--seed", "99999999999999999999"},
                                                {"--seed"},
                                                {"--unknown"},
                                                {"stray"}}) {
    CAPTURE(wrong);
    const Outcome bad = parse(wrong);
    CHECK(bad.exit_code == 2);
    CHECK_FALSE(bad.body_ran);
    CHECK(bad.message.starts_with("deepwater: "));
    CHECK(bad.message.ends_with(" (see --help)\n"));
    CHECK(std::count(bad.message.begin(), bad.message.end(), '\n') == 1);
  }
}

TEST_CASE("ui command line: the first interrupt asks, and only while it is caught") {
  captured_stderr([] {
    struct sigaction before {};
    ::sigaction(SIGINT, nullptr, &before);
    {
      const CatchInterrupts guard;
      CHECK_FALSE(stop_requested());
      ::raise(SIGINT);
      CHECK(stop_requested());
      struct sigaction during {};
      ::sigaction(SIGINT, nullptr, &during);
      CHECK((during.sa_handler == SIG_DFL));  // a second one ends the program
    }
    struct sigaction after {};
    ::sigaction(SIGINT, nullptr, &after);
    CHECK((after.sa_handler == before.sa_handler));
    const CatchInterrupts again;
    CHECK_FALSE(stop_requested());
  });
}

TEST_CASE("ui command line: the environment is described") {
  const Environment environment = describe_environment();
  CHECK_FALSE(environment.cpu.empty());
  CHECK(environment.cores >= 1);
  CHECK(environment.threads >= 1);
  CHECK_FALSE(environment.compiler.empty());
  CHECK_FALSE(environment.commit.empty());
  CHECK(environment.date.size() == 20);
  CHECK(environment.date.ends_with(" UTC"));
  CHECK(environment_rows(environment).size() == 4);
}
