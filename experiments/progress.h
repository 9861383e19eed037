// A progress bar on stderr for loops a person waits for: percentage, count, rate, elapsed and remaining time.
// It draws only on a terminal, at most ten times a second, and only once two seconds have passed; piped into
// a file it stays silent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

namespace dw {

/// What one line of progress shows.
struct ProgressState {
  std::string label;   ///< "training"
  std::string unit;    ///< "images", plural
  std::string note;    ///< "loss 1.23 acc 45.6 %", may be empty
  uint64_t done = 0;   ///< may exceed total
  uint64_t total = 0;  ///< 0 where unknown
  double elapsed_seconds = 0;
  double units_per_second = 0;  ///< recent speed; 0 where unknown
};

/// The line for `state` in at most `width` columns, without a newline. Parts that do not fit are dropped,
/// least important first; the label and percentage go last.
std::string render_progress(const ProgressState& state, size_t width, bool utf8);

/// Turns every Progress off (--quiet), messages too, or on again. Affects bars made afterwards.
void set_progress_quiet(bool quiet);

class Progress {
 public:
  enum class Show {
    automatic,  ///< on a terminal, after two seconds
    always,     ///< at once, also where `stream` is no terminal
    never
  };

  /// `total` 0: the amount is unknown. `stream` must outlive the bar.
  Progress(std::string label, uint64_t total, std::string unit, Show show = Show::automatic,
           std::FILE* stream = stderr);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Leaves the last state on its own line, also while an exception passes.
  ~Progress();

  /// Adds `count` units; a note that is not empty replaces the one shown. Thread-safe and cheap: a clock
  /// reading where nothing is drawn.
  void advance(uint64_t count = 1, std::string_view note = {});

  /// Prints `line` above the bar; also where the bar itself is not drawn, unless progress is quiet.
  /// Thread-safe.
  void message(std::string_view line);

  /// Draws the final state and ends the line; later calls do nothing. The destructor does the same.
  void finish();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace dw
