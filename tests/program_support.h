// Runs the real deepwater executable, and tells whether it left a folder as it was.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/files.h"
#include "tests/installation.h"
#include "tests/watermark_ownership_support.h"

namespace dw::test {

namespace fs = std::filesystem;

/// A child process running the program; its output goes to files.
class Program {
 public:
  /// `most_bytes` per file written, as on a full disk; 0: no limit.
  explicit Program(const std::vector<std::string>& arguments, size_t most_bytes = 0,
                   const std::filesystem::path& executable = program_path("deepwater")) {
    std::vector<std::string> words{executable.string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string out = (output_ / "out").string(), err = (output_ / "err").string();
    // Tests share the machine: threads that spin while they wait would take it from each other.
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    child_ = ::fork();
    if (child_ != 0) return;
    // Between fork and exec only system calls.
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
    if (most_bytes > 0) {
      // Then a write beyond the limit fails instead of killing the process.
      ::signal(SIGXFSZ, SIG_IGN);
      const struct rlimit limit { most_bytes, most_bytes };
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (!waited_) ::kill(child_, SIGKILL);
    wait();
  }

  void signal(int number) const { ::kill(child_, number); }
  bool running() {
    if (!waited_ && ::waitpid(child_, &status_, WNOHANG) == child_) waited_ = true;
    return !waited_;
  }
  /// The exit code; minus the signal that ended it.
  int wait() {
    if (!waited_) ::waitpid(child_, &status_, 0);
    waited_ = true;
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
  }
  std::string out() const { return read_text_file(output_ / "out"); }
  std::string err() const { return read_text_file(output_ / "err"); }

 private:
  ScratchFolder output_;
  pid_t child_ = -1;
  int status_ = 0;
  bool waited_ = false;
};

/// Every path below `folder` with its content.
inline std::map<std::string, std::string> content_of(const fs::path& folder) {
  std::map<std::string, std::string> content;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    content[entry.path().string()] = entry.is_regular_file() ? read_text_file(entry.path()) : "";
  return content;
}

/// The names below `folder` only.
inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& [path, content] : content_of(folder)) names.push_back(fs::relative(path, folder).string());
  return names;
}

/// The program refuses: this exit code, one line on stderr that contains `why`, nothing on stdout, and the
/// folder as it was.
inline void check_refused(const ScratchFolder& folder, std::vector<std::string> arguments, int exit_code,
                          const std::string& why, size_t most_bytes = 0) {
  const auto before = content_of(folder / ".");
  Program program(arguments, most_bytes);
  const int found = program.wait();
  std::string command;
  for (const std::string& argument : arguments) command += " " + argument;
  CAPTURE(command);
  CAPTURE(why);
  const std::string err = program.err();
  CHECK(found == exit_code);
  CHECK(err.starts_with("deepwater: "));
  CHECK(std::count(err.begin(), err.end(), '\n') == 1);
  CHECK(err.ends_with("\n"));
  CHECK_MESSAGE(contains(err, why), err);
  CHECK(program.out().empty());
  CHECK(content_of(folder / ".") == before);
}

/// Runs to its end with this exit code; what it printed.
inline std::string output_of(const std::vector<std::string>& arguments, int exit_code = 0) {
  Program program(arguments);
  const int found = program.wait();
  CHECK_MESSAGE(found == exit_code, program.err());
  return program.out();
}

inline nlohmann::json json_of(std::vector<std::string> arguments, int exit_code = 0) {
  arguments.insert(arguments.end(), {"--json", "--quiet"});
  const std::string text = output_of(arguments, exit_code);
  const nlohmann::json result = nlohmann::json::parse(text, nullptr, false);
  CHECK_MESSAGE(result.is_object(), text);
  return result;
}

}  // namespace dw::test
