// Small text helpers shared by progress, tables and plots: how wide UTF-8 text is in a terminal, and how
// numbers are written for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dw {

/// Terminal columns that UTF-8 `text` takes: combining marks none, East Asian wide characters and emoji two.
/// Bytes that are not UTF-8 count one each.
size_t display_width(std::string_view text);

/// `text` cut to at most `width` columns, never inside a character; a cut ends in "…" (or "." where `utf8` is
/// false).
std::string fit_width(std::string_view text, size_t width, bool utf8 = true);

/// `text` with control characters (newlines, tabs, escapes) replaced by spaces.
std::string one_line(std::string_view text);

/// True where the locale's character encoding (LC_ALL, else LC_CTYPE, else LANG) is UTF-8.
bool locale_is_utf8();

/// 12345 -> "12,345".
std::string format_count(uint64_t count);

/// Seconds as "4.2 s" (below ten seconds), "0:42", "12:05", "3:07:09" or "2 d 03:04"; "?" where not finite or
/// negative.
std::string format_duration(double seconds);

/// "1,240 images/s", "12.3 images/s", "0.25 images/s", and below one in ten seconds "3.1 images/min";
/// "? images/s" where not finite or not positive.
std::string format_rate(double per_second, std::string_view unit);

/// A whole number raised: "⁻²⁵⁵".
std::string superscript(int64_t number);

/// True for what a table right-aligns: a number with an optional sign, thousands commas, exponent, and unit
/// or percent sign ("-1.5", "12,345", "98.1 %", "3e-4", "0.5 s"), or a lone dash.
bool looks_numeric(std::string_view text);

/// `text` with &, <, >, " and ' replaced by entities; control characters that XML forbids and bytes that are
/// not UTF-8 become U+FFFD.
std::string escape_markup(std::string_view text);

}  // namespace dw
