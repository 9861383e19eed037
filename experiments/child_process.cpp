#include "experiments/child_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "kernels/error.h"

namespace dw {

ChildProcess::ChildProcess(const std::vector<std::string>& arguments) {
  std::array<int, 2> to_child{}, from_child{};
  require(::pipe2(to_child.data(), O_CLOEXEC) == 0 && ::pipe2(from_child.data(), O_CLOEXEC) == 0,
          "cannot make a pipe: {}", std::strerror(errno));
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  process_ = ::fork();
  require(process_ >= 0, "cannot start {}: {}", arguments.at(0), std::strerror(errno));
  if (process_ == 0) {
    ::dup2(to_child[0], STDIN_FILENO);
    ::dup2(from_child[1], STDOUT_FILENO);
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0) ::dup2(nowhere, STDERR_FILENO);
    ::execvp(pointers[0], pointers.data());
    constexpr int not_found = 127;
    ::_exit(not_found);
  }
  ::close(to_child[0]);
  ::close(from_child[1]);
  input_ = to_child[1];
  output_ = from_child[0];
  // A program that ended early must be an error of write(), not a signal.
  std::signal(SIGPIPE, SIG_IGN);
}

ChildProcess::~ChildProcess() {
  ::close(input_);
  ::close(output_);
  ::waitpid(process_, nullptr, 0);
}

void ChildProcess::write(const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t put = ::write(input_, text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    require(put > 0, "the child process no longer reads: {}", std::strerror(errno));
    done += static_cast<size_t>(put);
  }
}

std::optional<std::string> ChildProcess::read_line() {
  while (true) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    std::array<char, 4096> chunk{};
    const ssize_t got = ::read(output_, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    buffer_.append(chunk.data(), static_cast<size_t>(got));
  }
}

}  // namespace dw
