// A small table of text: aligned columns for the terminal, Markdown for a README. Columns whose cells are all
// numbers are right-aligned.
#pragma once

#include <string>
#include <vector>

namespace dw {

class Table {
 public:
  explicit Table(std::vector<std::string> header);

  /// Appends a row. Error where it has not as many cells as the header.
  void add_row(std::vector<std::string> cells);

  const std::vector<std::string>& header() const { return header_; }
  const std::vector<std::vector<std::string>>& rows() const { return rows_; }

  /// True where every non-empty cell of `column` looks numeric and at least one does.
  bool is_numeric(size_t column) const;

  /// Lines of aligned columns under a rule, each ending in a newline, without trailing spaces.
  std::string text(bool utf8 = true) const;

  /// A Markdown table; "|" inside cells is escaped, newlines become spaces.
  std::string markdown() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace dw
