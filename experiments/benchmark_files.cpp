#include "experiments/benchmark_files.h"

#include "core/files.h"
#include "experiments/workflow.h"

namespace dw {

BenchmarkFiles::BenchmarkFiles(const std::filesystem::path& folder)
    : page_(folder / "report.html"), json_(folder / "result.json") {
  for (const auto& file : {page_, json_}) require_writable(file);
}

void BenchmarkFiles::write(const HtmlReport& page, const std::string& json) const {
  page.write(page_);
  write_file_atomically(json_, json);
}

}  // namespace dw
