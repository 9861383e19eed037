#include "experiments/child_process.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
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
  errors_ = ::memfd_create("stderr", MFD_CLOEXEC);
  require(errors_ >= 0, "cannot make a file in memory: {}", std::strerror(errno));
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  process_ = ::fork();
  require(process_ >= 0, "cannot start {}: {}", arguments.at(0), std::strerror(errno));
  if (process_ == 0) {
    ::dup2(to_child[0], STDIN_FILENO);
    ::dup2(from_child[1], STDOUT_FILENO);
    ::dup2(errors_, STDERR_FILENO);
    ::execvp(pointers[0], pointers.data());
    const std::string reason = std::string(pointers[0]) + ": " + std::strerror(errno) + "\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, reason.data(), reason.size());
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
  ::close(errors_);
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

std::string ChildProcess::last_words() const {
  std::array<char, 4096> end{};
  struct stat file {};
  ::fstat(errors_, &file);
  const auto begin = std::max<off_t>(0, file.st_size - static_cast<off_t>(end.size()));
  const ssize_t got = ::pread(errors_, end.data(), end.size(), begin);
  std::string text(end.data(), static_cast<size_t>(std::max<ssize_t>(got, 0)));
  const size_t last = text.find_last_not_of(" \t\r\n");
  if (last == std::string::npos) return {};
  text.erase(last + 1);
  return text.substr(text.find_last_of('\n') + 1);
}

}  // namespace dw
