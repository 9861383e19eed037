#include "experiments/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace dw {
namespace {

struct Character {
  char32_t code = 0;
  size_t bytes = 0;
  bool valid = false;
};

// The character that starts `text`, which is not empty; an invalid byte is one character of one byte.
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {lead, 1, false};
  char32_t code = lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {lead, 1, false};
    code = (code << 6) | (byte(i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {lead, 1, false};
  return {code, length, true};
}

using Range = std::pair<char32_t, char32_t>;

constexpr std::array<Range, 9> zero_width{{{0x0300, 0x036F},
                                           {0x0483, 0x0489},
                                           {0x0591, 0x05BD},
                                           {0x1AB0, 0x1AFF},
                                           {0x1DC0, 0x1DFF},
                                           {0x200B, 0x200F},
                                           {0x20D0, 0x20FF},
                                           {0xFE00, 0xFE0F},
                                           {0xFE20, 0xFE2F}}};
constexpr std::array<Range, 9> double_width{{{0x1100, 0x115F},
                                             {0x2E80, 0x303E},
                                             {0x3041, 0xA4CF},
                                             {0xAC00, 0xD7A3},
                                             {0xF900, 0xFAFF},
                                             {0xFE30, 0xFE6F},
                                             {0xFF00, 0xFF60},
                                             {0x1F300, 0x1F64F},
                                             {0x1F900, 0x3FFFD}}};

template <size_t N>
bool contains(const std::array<Range, N>& ranges, char32_t code) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [=](const Range& range) { return code >= range.first && code <= range.second; });
}

size_t character_width(const Character& character) {
  if (!character.valid) return 1;
  if (contains(zero_width, character.code)) return 0;
  return contains(double_width, character.code) ? 2 : 1;
}

}  // namespace

size_t display_width(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const Character character = first_character(text);
    width += character_width(character);
    text.remove_prefix(character.bytes);
  }
  return width;
}

std::string fit_width(std::string_view text, size_t width, bool utf8) {
  if (display_width(text) <= width) return std::string(text);
  if (width == 0) return {};
  size_t used = 0, bytes = 0;
  while (bytes < text.size()) {
    const Character character = first_character(text.substr(bytes));
    used += character_width(character);
    if (used > width - 1) break;
    bytes += character.bytes;
  }
  return std::string(text.substr(0, bytes)) + (utf8 ? "…" : ".");
}

std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  return line;
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (!value || !*value) continue;
    std::string lower;
    for (const char* c = value; *c; ++c)
      if (*c != '-') lower += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
    return lower.find("utf8") != std::string::npos;
  }
  return false;
}

std::string format_count(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  if (seconds > 1e12) return "?";
  const auto whole = static_cast<uint64_t>(std::llround(seconds));
  const uint64_t minutes = whole / 60 % 60, hours = whole / 3600 % 24, days = whole / 86400;
  if (days > 0) return fmt::format("{} d {:02}:{:02}", days, hours, minutes);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string format_rate(double per_second, std::string_view unit) {
  if (!std::isfinite(per_second) || per_second <= 0 || per_second > 1e18) return fmt::format("? {}/s", unit);
  if (per_second < 0.1) return fmt::format("{:.1f} {}/min", per_second * 60, unit);
  if (per_second < 9.995) return fmt::format("{:.2f} {}/s", per_second, unit);
  if (per_second < 99.95) return fmt::format("{:.1f} {}/s", per_second, unit);
  return fmt::format("{} {}/s", format_count(static_cast<uint64_t>(std::llround(per_second))), unit);
}

std::string superscript(int64_t number) {
  constexpr std::array<std::string_view, 10> digits{"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text;
  for (const char c : std::to_string(number))
    text += c == '-' ? std::string_view("⁻") : digits[static_cast<size_t>(c - '0')];
  return text;
}

bool looks_numeric(std::string_view text) {
  for (const std::string_view dash : {"-", "–", "—"})
    if (text == dash) return true;
  for (const std::string_view sign : {"-", "+", "−", "±", "<", ">", "≤", "≥", "×"})
    if (text.starts_with(sign)) {
      text.remove_prefix(sign.size());
      while (text.starts_with(' ')) text.remove_prefix(1);
      break;
    }
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.empty() || !digit(text.front())) return false;
  const auto end = std::find_if_not(text.begin(), text.end(),
                                    [&](char c) { return digit(c) || c == '.' || c == ',' || c == ':'; });
  text.remove_prefix(static_cast<size_t>(end - text.begin()));
  const auto exponent_digits = text.find_first_not_of("eE+-");
  if (!text.empty() && (text.front() == 'e' || text.front() == 'E') && exponent_digits != text.npos &&
      digit(text[exponent_digits])) {
    text.remove_prefix(exponent_digits);
    while (!text.empty() && digit(text.front())) text.remove_prefix(1);
  }
  // What is left may be one unit of a few letters.
  if (text.starts_with(' ')) text.remove_prefix(1);
  return display_width(text) <= 12 && text.find(' ') == text.npos;
}

std::string escape_markup(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  while (!text.empty()) {
    const Character character = first_character(text);
    const char32_t code = character.code;
    const bool forbidden = (code < 0x20 && code != '\t' && code != '\n' && code != '\r') ||
                           (code >= 0x7F && code <= 0x9F) || code == 0xFFFE || code == 0xFFFF;
    if (!character.valid || forbidden) {
      escaped += "\xEF\xBF\xBD";
    } else if (code == '&') {
      escaped += "&amp;";
    } else if (code == '<') {
      escaped += "&lt;";
    } else if (code == '>') {
      escaped += "&gt;";
    } else if (code == '"') {
      escaped += "&quot;";
    } else if (code == '\'') {
      escaped += "&#39;";
    } else {
      escaped += text.substr(0, character.bytes);
    }
    text.remove_prefix(character.bytes);
  }
  return escaped;
}

}  // namespace dw
