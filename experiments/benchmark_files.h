// What a benchmark leaves in its folder: a page for people, report.html, and the same for programs,
// result.json.
#pragma once

#include <filesystem>
#include <string>

#include "experiments/html_report.h"

namespace dw {

class BenchmarkFiles {
 public:
  /// Makes the folder. Error: it cannot be written; found out here, before anything is measured.
  explicit BenchmarkFiles(const std::filesystem::path& folder);

  /// `json` is the text of result.json. Error: the disk is full, or the folder went away.
  void write(const HtmlReport& page, const std::string& json) const;

  const std::filesystem::path& page() const { return page_; }

 private:
  std::filesystem::path page_, json_;
};

}  // namespace dw
