// A report as one HTML file that needs nothing else: no network, no scripts, readable on light and dark
// screens and on paper. Parts appear in the order they are added; all text is escaped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/table.h"

namespace dw {

enum class Tone { good, bad, neutral };

struct Picture {
  std::string png;          ///< the bytes of a PNG file, see encode_png
  std::string caption;      ///< may be empty
  std::string description;  ///< for people who do not see it
};

class HtmlReport {
 public:
  explicit HtmlReport(std::string_view title);

  /// The paragraph below the title that says the result. Like every paragraph, `code` in backquotes is set as
  /// code.
  void lead(std::string_view text);

  /// A banner: "OWNED", "256 of 256 bits match". Its kind is also shown by a sign, not by colour alone.
  void verdict(Tone kind, std::string_view headline, std::string_view detail = {});

  /// Starts a section; also listed at the top once there are three.
  void section(std::string_view title);

  /// A heading within a section.
  void subsection(std::string_view title);

  void paragraph(std::string_view text);
  void code(std::string_view text);

  /// Columns of numbers are right-aligned; rows listed in `highlighted` stand out.
  void table(const Table& table, std::string_view caption = {}, std::span<const size_t> highlighted = {});

  /// `svg` from plot(); `caption` says what to see in it.
  void plot(std::string_view svg, std::string_view caption = {});

  /// A box of facts: command, seed, commit, hardware, date.
  void facts(std::string_view title, std::span<const std::pair<std::string, std::string>> facts);

  /// Small pictures side by side, each shown `pixels` wide with sharp edges.
  void pictures(std::span<const Picture> pictures, std::string_view caption = {}, size_t pixels = 96);

  /// Text to unfold, such as the raw JSON.
  void details(std::string_view title, std::string_view text);

  std::string html() const;

  /// Writes html() to `path`: whole or not at all.
  void write(const std::filesystem::path& path) const;

 private:
  std::string title_;
  std::string body_;
  std::vector<std::string> sections_;
  std::string opening_;  // what comes before the first section
};

}  // namespace dw
