// The analysis the method starts from, on every network these experiments have trained: which family of
// distributions describes a layer's weights, with and without a mark.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "experiments/experiment.h"
#include "experiments/inspect_report.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

// "unmarked, lenet-5" of "unmarked, lenet-5, seed 1": the scheme, and the network where it is not the
// preset's.
std::string group_of(const std::string& name) {
  std::string group = name.substr(0, name.find(','));
  for (const std::string network : {"wrn-", "lenet-", "mlp"}) {
    const size_t start = name.find(", " + network);
    if (start != std::string::npos) group += name.substr(start, name.find(',', start + 1) - start);
  }
  return group;
}

// Every finished network of the output folder, by name; those that are still being trained are not looked at.
std::vector<std::pair<std::string, fs::path>> finished_networks(const fs::path& folder) {
  std::vector<std::pair<std::string, fs::path>> found;
  if (!fs::is_directory(folder)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const fs::path description = entry.path() / "network.json", model = entry.path() / "model.safetensors";
    if (!fs::exists(description) || !fs::exists(model)) continue;
    const Json json = Json::parse(read_text_file(description), nullptr, false);
    if (json.is_object() && json.contains("name") && json["name"].is_string())
      found.emplace_back(json["name"].get<std::string>(), model);
  }
  std::sort(found.begin(), found.end());
  return found;
}

struct Standing {
  int wins = 0;
  double ranks = 0, distances = 0;
};

// How every family does over the fitted tensors of some networks.
struct Ranking {
  int networks = 0, tensors = 0;
  std::map<std::string, Standing> families;
  double kurtosis = 0, skewness = 0;

  double mean_rank(const std::string& family) const { return families.at(family).ranks / tensors; }
  void add(const Json& report) {
    ++networks;
    for (const Json& layer : report.at("layers")) {
      if (layer.at("fits").empty()) continue;
      ++tensors;
      kurtosis += layer.at("kurtosis").get<double>();
      skewness += layer.at("skewness").get<double>();
      for (const Json& fit : layer.at("fits")) {
        Standing& standing = families[fit.at("family").get<std::string>()];
        standing.wins += fit.at("rank") == 1;
        standing.ranks += fit.at("rank").get<double>();
        standing.distances += fit.at("ks_distance").get<double>();
      }
    }
  }
};

Table ranking_table(const std::map<std::string, Ranking>& groups) {
  std::vector<std::string> header{"networks", "number", "layers", "mean kurtosis"};
  for (const Family family : families) header.push_back(std::string(name_of(family)));
  Table table(header);
  for (const auto& [name, ranking] : groups) {
    if (ranking.tensors == 0) continue;
    std::vector<std::string> row{name, std::to_string(ranking.networks), std::to_string(ranking.tensors),
                                 fmt::format("{:.2f}", ranking.kurtosis / ranking.tensors)};
    for (const Family family : families) {
      const Standing& standing = ranking.families.at(std::string(name_of(family)));
      row.push_back(fmt::format("{} × best, rank {:.2f}, KS {:.3f}", standing.wins,
                                standing.ranks / ranking.tensors, standing.distances / ranking.tensors));
    }
    table.add_row(row);
  }
  return table;
}

// Histograms and quantiles of the largest fitted layers of one network.
std::string pictures_of(const fs::path& model, const std::string& name, size_t count) {
  FileReport report = inspect_file(model);
  std::vector<TensorReport>& tensors = report.tensors;
  std::erase_if(tensors, [](const TensorReport& tensor) { return tensor.fits.empty(); });
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorReport& a, const TensorReport& b) {
    return a.facts.count > b.facts.count;
  });
  std::string svg;
  for (size_t i = 0; i < std::min(count, tensors.size()); ++i)
    svg +=
        histogram_of(tensors[i], name + ": " + tensors[i].name) + quantiles_of(tensors[i], tensors[i].name);
  return svg;
}

Findings run(ExperimentContext& context) {
  // These at least; other experiments have trained more.
  const TrainedFile unmarked = context.network({.seed = 1}), ours = context.network({.scheme = "deepwater"});
  context.network({.scheme = "uchida"});
  context.network({.network = "lenet-5"});

  std::map<std::string, Ranking> groups;
  Ranking plain_twin, marked_twin;
  for (const auto& [name, model] : finished_networks(unmarked.model.parent_path().parent_path())) {
    const Json report =
        context.cell("inspect " + model.parent_path().filename().string(), [&, &path = model] {
          const std::vector<FileReport> files{inspect_file(path)};
          Json result = Json::parse(to_json(files));
          result.erase("model");  // the folder may move
          result["network"] = path.parent_path().filename().string();
          return result;
        });
    groups[group_of(name)].add(report);
    groups["all"].add(report);
    if (model == unmarked.model) plain_twin.add(report);
    if (model == ours.model) marked_twin.add(report);
  }

  const Ranking& all = groups.at("all");
  const auto better = [](const auto& a, const auto& b) { return a.second.ranks < b.second.ranks; };
  const auto best = std::min_element(all.families.begin(), all.families.end(), better);
  Findings findings;
  findings.sections.push_back(
      {.title = "Which distribution fits",
       .text = fmt::format(
           "{} layers of {} networks. The {} distribution has the best mean rank, {:.2f} of {}; the "
           "normal distribution has {:.2f}.",
           all.tensors, all.networks, best->first, all.mean_rank(best->first), families.size(),
           all.mean_rank("normal")),
       .table = ranking_table(groups),
       .caption = "Maximum-likelihood fits of every weight tensor, ranked by Akaike's criterion: how often "
                  "best, mean "
                  "rank, mean Kolmogorov-Smirnov distance."});
  const size_t pictures = context.choose<size_t>(1, 2, 3);
  findings.sections.push_back({.title = "An unmarked network",
                               .text = "The largest layers with their best fits.",
                               .svg = pictures_of(unmarked.model, "unmarked", pictures)});
  findings.sections.push_back({.title = "The same network with the mark",
                               .text = "Same seed, same pictures.",
                               .svg = pictures_of(ours.model, "marked", pictures)});
  const double plain = plain_twin.mean_rank("normal"), marked = marked_twin.mean_rank("normal");
  findings.goals.push_back(
      {"a marked network looks as normal as its unmarked twin: the normal distribution's mean rank moves by "
       "at most ½",
       fmt::format("{:+.2f}: unmarked {:.2f}, marked {:.2f}", marked - plain, plain, marked),
       std::abs(marked - plain) <= 0.5});
  return findings;
}

}  // namespace

Experiment parameter_statistics_experiment() {
  return {
      "parameter-statistics", "What trained weights look like",
      "Which family of distributions describes the weights of a layer, and does the mark change the answer?",
      run};
}

}  // namespace dw
