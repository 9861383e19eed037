// What `inspect` finds in model files, and how it is shown: moments of every tensor, and for every weight
// tensor which family of distributions describes it best.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "experiments/table.h"
#include "watermark/distributions.h"
#include "watermark/samples.h"

namespace dw {

struct TensorReport {
  std::string name, dtype;
  std::string shape;  ///< "64x32x3x3"
  Description facts;
  size_t fitted = 0;      ///< values the fits saw: the non-zero ones, at most largest_sample
  std::vector<Fit> fits;  ///< in the order of `families`; empty for vectors (biases, norms) and tiny tensors
  std::vector<double> sample;  ///< some of the fitted values, sorted, to draw

  /// Null where there are no fits.
  const Fit* best() const;
};

struct FileReport {
  std::filesystem::path path;
  std::map<std::string, std::string> metadata;
  std::vector<TensorReport> tensors;  ///< the floating ones, by name
};

/// Reads a safetensors file of any network; `with_fits` as of TensorReport. In parallel, whatever its result.
/// Errors of SafetensorsFile.
FileReport inspect_file(const std::filesystem::path& path, bool with_fits = true);

/// How one family does over every tensor that was fitted.
struct FamilyRanking {
  Family family = Family::normal;
  int wins = 0;
  double mean_rank = 0;
  double mean_ks_distance = 0;
  double mean_aic_excess = 0;  ///< of a tensor over its best family's, per thousand weights fitted
};
/// In the order of mean rank; empty where nothing was fitted.
std::vector<FamilyRanking> rank_families(std::span<const FileReport> files);

Table tensor_table(const FileReport& file);
Table fit_table(const FileReport& file);
Table ranking_table(std::span<const FamilyRanking> ranking);

/// One <svg> each: the weights with their best fit.
std::string histogram_of(const TensorReport& tensor, const std::string& title);
std::string quantiles_of(const TensorReport& tensor, const std::string& title);

/// One JSON object; of several files, {"models": [...], "ranking": [...]}.
std::string to_json(std::span<const FileReport> files);

/// A self-contained page with tables and plots.
void write_inspect_report(std::span<const FileReport> files, const std::string& command,
                          const std::filesystem::path& path);

}  // namespace dw
