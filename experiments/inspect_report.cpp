#include "experiments/inspect_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "experiments/command_line.h"
#include "experiments/html_report.h"
#include "experiments/plot.h"
#include "experiments/text.h"

namespace dw {
namespace {

constexpr size_t most_drawn = 2000;   // values in one plot
constexpr size_t most_pictured = 60;  // tensors with plots in one page

using Json = nlohmann::ordered_json;

TensorReport report_of(const std::string& name, const SafetensorsFile& file, bool with_fits) {
  const SafetensorsEntry& entry = file.at(name);
  TensorReport report{name, entry.dtype, fmt::format("{}", fmt::join(entry.shape, "x")), {}, 0, {}, {}};
  const std::vector<float> values = file.read_f32(name);
  report.facts = describe(values);
  if (!with_fits || entry.shape.size() < 2) return report;
  const std::vector<double> sample = sample_of(values);
  report.fits = fit_all(sample);
  if (report.fits.empty()) return report;
  report.fitted = sample.size();
  report.sample = sample_of(values, most_drawn);
  return report;
}

std::string number(double value, int digits) {
  return fmt::format("{:.{}f}", value, digits);
}

std::string scaled(double value) {
  return fmt::format("{:.4g}", value);
}

Json json_of(const Fit& fit, int rank) {
  const Distribution& d = fit.distribution;
  Json result = {{"family", name_of(d.family)}, {"location", d.location}, {"scale", d.scale}};
  if (d.shape > 0) result["shape"] = d.shape;
  result["log_likelihood"] = fit.log_likelihood;
  result["aic"] = fit.aic;
  result["ks_distance"] = fit.ks_distance;
  result["rank"] = rank;
  return result;
}

Json json_of(const FileReport& file) {
  int64_t count = 0;
  Json layers = Json::array();
  for (const TensorReport& tensor : file.tensors) {
    const Description& facts = tensor.facts;
    count += facts.count;
    Json fits = Json::array();
    const std::vector<int> ranks = ranks_of(tensor.fits);
    for (size_t i = 0; i < ranks.size(); ++i) fits.push_back(json_of(tensor.fits[i], ranks[i]));
    layers.push_back({{"name", tensor.name},
                      {"dtype", tensor.dtype},
                      {"shape", tensor.shape},
                      {"count", facts.count},
                      {"zeros", facts.zeros},
                      {"not_finite", facts.not_finite},
                      {"mean", facts.mean},
                      {"deviation", facts.deviation},
                      {"scale", facts.scale},
                      {"skewness", facts.skewness},
                      {"kurtosis", facts.kurtosis},
                      {"fitted", tensor.fitted},
                      {"fits", fits}});
  }
  return {{"model", file.path.string()}, {"metadata", file.metadata}, {"values", count}, {"layers", layers}};
}

Json json_of(std::span<const FamilyRanking> ranking) {
  Json rows = Json::array();
  for (const FamilyRanking& row : ranking)
    rows.push_back({{"family", name_of(row.family)},
                    {"wins", row.wins},
                    {"mean_rank", row.mean_rank},
                    {"mean_ks_distance", row.mean_ks_distance},
                    {"mean_aic_excess", row.mean_aic_excess}});
  return rows;
}

}  // namespace

const Fit* TensorReport::best() const {
  const auto found =
      std::min_element(fits.begin(), fits.end(), [](const Fit& a, const Fit& b) { return a.aic < b.aic; });
  return found == fits.end() ? nullptr : &*found;
}

FileReport inspect_file(const std::filesystem::path& path, bool with_fits) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  FileReport report{path, file.metadata(), {}};
  std::vector<std::string> names;
  for (const auto& [name, entry] : file.entries())
    if (is_floating(entry.dtype)) names.push_back(name);
  report.tensors.resize(names.size());
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < names.size(); ++i) {
    try {
      report.tensors[i] = report_of(names[i], file, with_fits);
    } catch (...) {
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  return report;
}

std::vector<FamilyRanking> rank_families(std::span<const FileReport> files) {
  std::vector<FamilyRanking> ranking;
  for (const Family family : families) ranking.push_back({family});
  double fitted = 0;
  for (const FileReport& file : files) {
    for (const TensorReport& tensor : file.tensors) {
      if (tensor.fits.empty()) continue;
      ++fitted;
      const std::vector<int> ranks = ranks_of(tensor.fits);
      for (size_t i = 0; i < ranking.size(); ++i) {
        ranking[i].wins += ranks[i] == 1;
        ranking[i].mean_rank += ranks[i];
        ranking[i].mean_ks_distance += tensor.fits[i].ks_distance;
        ranking[i].mean_aic_excess +=
            1000 * (tensor.fits[i].aic - tensor.best()->aic) / static_cast<double>(tensor.fitted);
      }
    }
  }
  if (fitted == 0) return {};
  for (FamilyRanking& row : ranking) {
    row.mean_rank /= fitted;
    row.mean_ks_distance /= fitted;
    row.mean_aic_excess /= fitted;
  }
  std::stable_sort(ranking.begin(), ranking.end(),
                   [](const FamilyRanking& a, const FamilyRanking& b) { return a.mean_rank < b.mean_rank; });
  return ranking;
}

Table tensor_table(const FileReport& file) {
  Table table(
      {"tensor", "dtype", "shape", "zeros %", "mean", "σ", "scale", "skewness", "kurtosis", "best fit"});
  for (const TensorReport& tensor : file.tensors) {
    const Description& facts = tensor.facts;
    const double zeros =
        facts.count > 0 ? 100.0 * static_cast<double>(facts.zeros) / static_cast<double>(facts.count) : 0;
    std::string best = tensor.best() ? std::string(name_of(tensor.best()->distribution.family)) : "";
    if (facts.not_finite > 0) best += fmt::format(" ({} not finite)", facts.not_finite);
    table.add_row({one_line(tensor.name), tensor.dtype, tensor.shape, number(zeros, 1), number(facts.mean, 5),
                   number(facts.deviation, 5), number(facts.scale, 5), number(facts.skewness, 2),
                   number(facts.kurtosis, 2), best});
  }
  return table;
}

Table fit_table(const FileReport& file) {
  Table table({"tensor", "family", "rank", "location", "scale", "shape", "KS distance", "AIC"});
  for (const TensorReport& tensor : file.tensors) {
    const std::vector<int> ranks = ranks_of(tensor.fits);
    for (size_t i = 0; i < ranks.size(); ++i) {
      const Fit& fit = tensor.fits[i];
      const Distribution& d = fit.distribution;
      table.add_row({i == 0 ? one_line(tensor.name) : "", std::string(name_of(d.family)),
                     std::to_string(ranks[i]), scaled(d.location), scaled(d.scale),
                     d.shape > 0 ? scaled(d.shape) : "", number(fit.ks_distance, 4), number(fit.aic, 1)});
    }
  }
  return table;
}

Table ranking_table(std::span<const FamilyRanking> ranking) {
  Table table({"family", "best in", "mean rank", "mean KS distance", "AIC above the best, per 1000 weights"});
  for (const FamilyRanking& row : ranking)
    table.add_row({std::string(name_of(row.family)), std::to_string(row.wins), number(row.mean_rank, 2),
                   number(row.mean_ks_distance, 4), number(row.mean_aic_excess, 2)});
  return table;
}

std::string histogram_of(const TensorReport& tensor, const std::string& title) {
  Histogram histogram;
  histogram.figure = {title, "Histogram of the weights of " + tensor.name + " with the best fit", 460, 260};
  histogram.x.label = "weight";
  histogram.name = "weights";
  histogram.samples = tensor.sample;
  if (const Fit* best = tensor.best()) {
    histogram.density = [d = best->distribution](double x) { return std::exp(log_density(d, x)); };
    histogram.density_name = name_of(best->distribution.family);
  }
  return plot(histogram);
}

std::string quantiles_of(const TensorReport& tensor, const std::string& title) {
  QuantilePlot quantiles;
  quantiles.figure = {title, "Quantiles of the weights of " + tensor.name + " against the best fit", 340,
                      340};
  const Distribution d = tensor.best() ? tensor.best()->distribution : Distribution{};
  quantiles.expected_label = fmt::format("quantile, {}", name_of(d.family));
  quantiles.observed_label = "quantile, weights";
  if (tensor.best()) quantiles.samples = tensor.sample;
  quantiles.quantile = [d](double p) { return quantile(d, p); };
  return plot(quantiles);
}

std::string to_json(std::span<const FileReport> files) {
  Json result;
  if (files.size() == 1) {
    result = json_of(files[0]);
  } else {
    result["models"] = Json::array();
    for (const FileReport& file : files) result["models"].push_back(json_of(file));
  }
  result["ranking"] = json_of(rank_families(files));
  return result.dump(2);
}

void write_inspect_report(std::span<const FileReport> files, const std::string& command,
                          const std::filesystem::path& path) {
  HtmlReport report("What the weights look like");
  const std::vector<FamilyRanking> ranking = rank_families(files);
  const size_t fitted = [&] {
    size_t count = 0;
    for (const FileReport& file : files)
      for (const TensorReport& tensor : file.tensors) count += !tensor.fits.empty();
    return count;
  }();
  report.lead(
      ranking.empty()
          ? "There is no weight tensor to fit in these files."
          : fmt::format("Over {} weight tensors of {} the {} distribution has the best mean rank ({:.2f} "
                        "of {}) by Akaike's criterion.",
                        fitted, files.size() == 1 ? "one file" : fmt::format("{} files", files.size()),
                        name_of(ranking[0].family), ranking[0].mean_rank, families.size()));
  if (!ranking.empty()) {
    report.section("Ranking");
    report.table(
        ranking_table(ranking),
        "Maximum-likelihood fits, ranked in every tensor by Akaike's criterion (2 parameters − 2 log "
        "likelihood). Weights that are zero are left out.");
    report.paragraph(fmt::format(
        "Tensors of more than {} weights are fitted on one weight from each of that many equal stretches.",
        format_count(largest_sample)));
  }
  size_t pictured = 0;
  for (const FileReport& file : files) {
    report.section(file.path.filename().string());
    report.table(tensor_table(file), "scale is the root mean square of the non-zero values.");
    for (const TensorReport& tensor : file.tensors) {
      if (tensor.fits.empty() || pictured == most_pictured) continue;
      ++pictured;
      report.plot(histogram_of(tensor, tensor.name) + quantiles_of(tensor, ""));
    }
    if (const Table fits = fit_table(file); !fits.rows().empty()) report.details("All fits", fits.text());
  }
  if (pictured < fitted)
    report.paragraph(fmt::format("The first {} of {} tensors are drawn.", pictured, fitted));
  std::vector<std::pair<std::string, std::string>> facts{{"Command", command}};
  for (const auto& row : environment_rows(describe_environment())) facts.push_back(row);
  report.facts("Run", facts);
  report.details("Results as JSON", to_json(files));
  report.write(path);
}

}  // namespace dw
