// Another program, spoken to line by line.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace dw {

class ChildProcess {
 public:
  /// Starts arguments[0], found on the path, with pipes to its standard input and output; what it writes to
  /// stderr is kept for last_words(). Error: no process could be made; a program that does not exist ends at
  /// once instead, which the first read_line() shows.
  explicit ChildProcess(const std::vector<std::string>& arguments);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  /// Closes its input and waits for its end.
  ~ChildProcess();

  /// Error where the program no longer reads.
  void write(const std::string& text);
  /// The next line without its newline; nothing once the program has ended.
  std::optional<std::string> read_line();
  /// The last line it wrote to stderr that says something; empty where there is none.
  std::string last_words() const;

 private:
  pid_t process_ = -1;
  int input_ = -1;   // what we write to
  int output_ = -1;  // what we read from
  int errors_ = -1;  // a file in memory: its stderr
  std::string buffer_;
};

}  // namespace dw
