#include "experiments/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "experiments/text.h"

namespace dw {
namespace {

std::atomic<bool> quiet_everywhere{false};

constexpr size_t smallest_bar = 10;
constexpr size_t largest_bar = 32;

std::string draw_bar(double fraction, size_t width, bool utf8) {
  std::string bar;
  if (!utf8) {
    const auto full = static_cast<size_t>(fraction * static_cast<double>(width));
    return "[" + std::string(full, '#') + std::string(width - full, '.') + "]";
  }
  // Eighths of a character, so that a slow bar still visibly moves.
  static constexpr std::array<const char*, 8> eighths{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto units = static_cast<size_t>(fraction * static_cast<double>(width * 8));
  for (size_t i = 0; i < units / 8; ++i) bar += "█";
  size_t used = units / 8;
  if (units % 8) {
    bar += eighths[units % 8];
    ++used;
  }
  for (; used < width; ++used) bar += "░";
  return bar;
}

// Which optional parts a line shows, from most to least.
struct Parts {
  bool bar, count, rate, elapsed, remaining, note;
};
constexpr std::array<Parts, 8> shrinking{{{true, true, true, true, true, true},
                                          {true, true, false, true, true, true},
                                          {true, true, false, false, true, true},
                                          {true, false, false, false, true, true},
                                          {false, false, false, false, true, true},
                                          {false, false, false, false, true, false},
                                          {false, false, false, false, false, true},
                                          {false, false, false, false, false, false}}};

size_t terminal_width(std::FILE* stream) {
  winsize size{};
  if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  const int value = columns ? std::atoi(columns) : 0;
  return value > 0 ? static_cast<size_t>(value) : 80;
}

bool can_redraw(std::FILE* stream) {
  const char* terminal = std::getenv("TERM");
  return ::isatty(::fileno(stream)) && terminal && std::string_view(terminal) != "dumb";
}

}  // namespace

std::string render_progress(const ProgressState& state, size_t width, bool utf8) {
  const bool known = state.total > 0;
  const double fraction =
      known ? std::min(1.0, static_cast<double>(state.done) / static_cast<double>(state.total)) : 0;
  const std::string separator = utf8 ? " · " : " | ";
  // Floored, so that 100 % means finished.
  const std::string head =
      one_line(state.label) + (known ? fmt::format(" {:3} %", static_cast<int>(fraction * 100)) : "");
  const std::string count =
      known ? format_count(state.done) + "/" + format_count(state.total) + " " + state.unit
            : format_count(state.done) + " " + state.unit;
  const bool finished = known && state.done >= state.total;
  const double left = state.units_per_second > 0 && known && !finished
                          ? static_cast<double>(state.total - state.done) / state.units_per_second
                          : std::numeric_limits<double>::quiet_NaN();

  for (const Parts& parts : shrinking) {
    std::vector<std::string> tail;
    if (parts.count) tail.push_back(count);
    if (parts.rate) tail.push_back(format_rate(state.units_per_second, state.unit));
    if (parts.elapsed || finished) tail.push_back(format_duration(state.elapsed_seconds));
    if (parts.remaining && known && !finished) tail.push_back(format_duration(left) + " left");
    if (parts.note && !state.note.empty()) tail.push_back(one_line(state.note));
    std::string rest;
    for (const auto& piece : tail) rest += (rest.empty() ? "" : separator) + piece;

    const size_t frame = utf8 ? 0 : 2;
    const bool with_bar = parts.bar && known;
    const size_t text_width = display_width(head) + (rest.empty() ? 0 : 2 + display_width(rest));
    const size_t needed = text_width + (with_bar ? 2 + frame + smallest_bar : 0);
    if (needed > width) continue;
    std::string line = head;
    if (with_bar)
      line += "  " + draw_bar(fraction, std::min(largest_bar, smallest_bar + width - needed), utf8);
    return line + (rest.empty() ? "" : "  " + rest);
  }
  return fit_width(head, width, utf8);
}

void set_progress_quiet(bool quiet) {
  quiet_everywhere = quiet;
}

struct Progress::Implementation {
  using Clock = std::chrono::steady_clock;

  static constexpr double first_draw_seconds = 2;
  static constexpr double redraw_seconds = 0.1;
  static constexpr double rate_memory_seconds = 10;

  std::mutex mutex;
  ProgressState state;
  std::FILE* stream = nullptr;
  bool draws = false;
  bool immediate = false;
  bool quiet = false;
  bool drawn = false;
  bool finished = false;
  bool utf8 = false;
  Clock::time_point start = Clock::now();
  double last_draw = 0;
  double last_rate_time = 0;
  uint64_t last_rate_done = 0;

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start).count(); }

  // The average so far at first, then one that forgets in about ten seconds.
  void update_rate(double now) {
    const double interval = now - last_rate_time;
    if (interval <= 0) return;
    const double recent = static_cast<double>(state.done - last_rate_done) / interval;
    const double weight =
        std::max(1 - std::exp(-interval / rate_memory_seconds), std::min(1.0, interval / now));
    state.units_per_second += weight * (recent - state.units_per_second);
    last_rate_time = now;
    last_rate_done = state.done;
  }

  void draw(double now) {
    update_rate(now);
    state.elapsed_seconds = now;
    // The last column stays free: some terminals wrap when it is written.
    const std::string line = render_progress(state, terminal_width(stream) - 1, utf8);
    fmt::print(stream, "\r{}\x1b[K", line);
    std::fflush(stream);
    drawn = true;
    last_draw = now;
  }
};

Progress::Progress(std::string label, uint64_t total, std::string unit, Show show, std::FILE* stream)
    : implementation_(std::make_unique<Implementation>()) {
  auto& self = *implementation_;
  self.state.label = std::move(label);
  self.state.unit = std::move(unit);
  self.state.total = total;
  self.stream = stream;
  self.quiet = quiet_everywhere || show == Show::never;
  self.immediate = show == Show::always;
  self.draws = !self.quiet && (self.immediate || can_redraw(stream));
  self.utf8 = locale_is_utf8();
}

Progress::~Progress() {
  try {
    finish();
  } catch (...) {  // A terminal that went away must not end the program from a destructor.
  }
}

void Progress::advance(uint64_t count, std::string_view note) {
  auto& self = *implementation_;
  const std::lock_guard lock(self.mutex);
  if (self.finished) return;
  self.state.done += count;
  if (!note.empty()) self.state.note = note;
  if (!self.draws) return;
  const double now = self.seconds();
  const bool due = self.drawn ? now - self.last_draw >= Implementation::redraw_seconds
                              : self.immediate || now >= Implementation::first_draw_seconds;
  if (due) self.draw(now);
}

void Progress::message(std::string_view line) {
  auto& self = *implementation_;
  const std::lock_guard lock(self.mutex);
  if (self.quiet) return;
  fmt::print(self.stream, "{}{}\n", self.drawn && !self.finished ? "\r\x1b[K" : "", line);
  std::fflush(self.stream);
  if (self.drawn && !self.finished) self.draw(self.seconds());
}

void Progress::finish() {
  auto& self = *implementation_;
  const std::lock_guard lock(self.mutex);
  if (self.finished) return;
  self.finished = true;
  if (!self.drawn) return;
  self.state.units_per_second = 0;
  self.last_rate_time = 0;
  self.last_rate_done = 0;
  self.draw(self.seconds());
  fmt::print(self.stream, "\n");
  std::fflush(self.stream);
}

}  // namespace dw
