#include "experiments/table.h"

#include <algorithm>
#include <utility>

#include "experiments/text.h"
#include "kernels/error.h"

namespace dw {
namespace {

std::string pad(const std::string& cell, size_t width, bool right) {
  const size_t own = display_width(cell);
  const std::string space(width > own ? width - own : 0, ' ');
  return right ? space + cell : cell + space;
}

std::string markdown_cell(const std::string& cell) {
  std::string escaped;
  for (const char c : one_line(cell)) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const auto& cell : cells) line += " " + markdown_cell(cell) + " |";
  return line + "\n";
}

}  // namespace

Table::Table(std::vector<std::string> header) : header_(std::move(header)) {
  require(!header_.empty(), "a table needs at least one column");
}

void Table::add_row(std::vector<std::string> cells) {
  require(cells.size() == header_.size(), "a table row has {} cells, expected {}", cells.size(),
          header_.size());
  rows_.push_back(std::move(cells));
}

bool Table::is_numeric(size_t column) const {
  bool any = false;
  for (const auto& row : rows_) {
    if (row.at(column).empty()) continue;
    if (!looks_numeric(row.at(column))) return false;
    any = true;
  }
  return any;
}

std::string Table::text(bool utf8) const {
  const size_t columns = header_.size();
  std::vector<size_t> widths(columns);
  for (size_t i = 0; i < columns; ++i) {
    widths[i] = display_width(one_line(header_[i]));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], display_width(one_line(row[i])));
  }
  std::string result;
  const auto add_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < columns; ++i)
      line += (i ? "  " : "") + pad(one_line(cells[i]), widths[i], is_numeric(i));
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + "\n";
  };
  add_line(header_);
  for (size_t i = 0; i < columns; ++i) {
    result += i ? "  " : "";
    for (size_t k = 0; k < widths[i]; ++k) result += utf8 ? "─" : "-";
  }
  result += "\n";
  for (const auto& row : rows_) add_line(row);
  return result;
}

std::string Table::markdown() const {
  std::string result = markdown_row(header_) + "|";
  for (size_t i = 0; i < header_.size(); ++i) result += is_numeric(i) ? " ---: |" : " --- |";
  result += "\n";
  for (const auto& row : rows_) result += markdown_row(row);
  return result;
}

}  // namespace dw
