// The ambiguity attack: a claimant who never marked the model looks for whatever the scheme lets them choose.
#include "watermark/forging.h"

#include <nlohmann/json.hpp>

#include "experiments/experiment.h"

namespace dw {
namespace {

Json to_json(const Forgery& forgery) {
  return {{"tries", forgery.tries},   {"successes", forgery.successes},
          {"bits", forgery.bits},     {"best_matches", forgery.best_matches},
          {"needed", forgery.needed}, {"log2_chance", forgery.log2_chance}};
}

struct Victim {
  TrainedFile file;
  Model model;
  Mark mark;
  OwnerKey key;
  std::unique_ptr<MarkReader> reader;
};

Victim victim_of(ExperimentContext& context, const std::string& scheme) {
  Victim victim;
  victim.file = context.network({.scheme = scheme});
  victim.model = read_model(victim.file.model);
  victim.mark = load_claim(victim.file.claim).marks.at(0).mark;
  victim.key = load_key(victim.file.key);
  victim.reader = reader_of(victim.model, victim.mark);
  return victim;
}

// The mean filter of a convolution, which Uchida's matrix projects.
std::vector<float> mean_filter(const ModelTensor& weight) {
  const auto filters = static_cast<size_t>(weight.shape.at(0));
  std::vector<float> mean(weight.values.size() / filters, 0);
  for (size_t i = 0; i < weight.values.size(); ++i)
    mean[i % mean.size()] += weight.values[i] / static_cast<float>(filters);
  return mean;
}

void add_row(Table& table, const std::string& scheme, const std::string& chosen, const Json& forgery) {
  const double chance = forgery["log2_chance"].get<double>();
  table.add_row(
      {scheme, chosen,
       fmt::format("{} of {}", forgery["successes"].get<int64_t>(), forgery["tries"].get<int64_t>()),
       fmt::format("{} of {}", forgery["best_matches"].get<int>(), forgery["bits"].get<int>()),
       chance != 0                                ? fmt::format("2^{:.0f} tries", -chance)
       : forgery["successes"] == forgery["tries"] ? "1 try"
                                                  : "not so"});
}

Findings run(ExperimentContext& context) {
  const auto few = context.choose<int64_t>(3, 20, 100);
  const auto searched = context.choose<int64_t>(50, 1000, 100'000);
  Table table(
      {"scheme", "what the claimant chooses", "succeeded at p ≤ 2⁻⁶⁴", "best match", "expected work"});
  std::vector<std::string> searches;
  bool any_search_won = false, matrix_always = false;
  double strict_chance = 0;
  for (const char* const scheme : {"deepwater", "uchida", "neuralmark", "greedy-residual"}) {
    const std::string name = scheme;
    const Json free = context.cell(name + ": free message", [&] {
      const Victim victim = victim_of(context, name);
      return to_json(forge_message(*victim.reader, victim.mark.bits, few, 11));
    });
    add_row(table, name, "the message, after reading with any key (not allowed here)", free);
    if (name == "uchida") {
      const Json matrix = context.cell(name + ": free matrix", [&] {
        const Victim victim = victim_of(context, name);
        return to_json(forge_matrix(mean_filter(victim.model.at(victim.mark.layers.at(0).name)),
                                    victim.mark.bits, few, 12));
      });
      add_row(table, name, "the matrix X: random rows, flipped to fit any message (the paper's X is free)",
              matrix);
      matrix_always = matrix["successes"] == matrix["tries"];
    }
    if (name == "deepwater") {
      const Json signs = context.cell(name + ": free signs", [&] {
        const Victim victim = victim_of(context, name);
        std::vector<float> weights;
        for (const MarkedLayer& layer : victim.mark.layers) {
          const std::vector<float>& values = victim.model.at(layer.name).values;
          weights.insert(weights.end(), values.begin(), values.end());
        }
        return to_json(forge_signs(weights, victim.mark.bits, few, 13));
      });
      add_row(table, name, "the carrier's signs (not allowed: they come from the key)", signs);
    }
    const Json search = context.cell(fmt::format("{}: {} keys", name, searched), [&] {
      const Victim victim = victim_of(context, name);
      Json result = to_json(search_keys(*victim.reader, victim.key.statement, searched, 14));
      result["log2_chance_strict"] =
          search_keys(*victim.reader, victim.key.statement, 0, 14, -128).log2_chance;
      return result;
    });
    add_row(table, name, "the key; carrier and message follow from it", search);
    any_search_won = any_search_won || search["successes"].get<int64_t>() > 0;
    strict_chance = search["log2_chance_strict"].get<double>();
    searches.push_back(
        fmt::format("{} {}/{}", name, search["best_matches"].get<int>(), search["bits"].get<int>()));
  }

  Findings findings;
  findings.sections.push_back(
      {.title = "Forged claims on networks that others marked",
       .text = "A scheme whose message or projection may be chosen after the fact proves nothing: the "
               "claimant fits it to "
               "the network. Here both follow from a key that is committed to, for every scheme, so that "
               "forging is a "
               "search for a key, each try a hash and a reading; nothing better than trying is known. A "
               "claim must "
               "also be older than the owner's.",
       .table = table,
       .caption = "Rows marked `not allowed` show what would happen without that rule. NeuralMark's carrier "
                  "is derived "
                  "from the message, so that its message cannot be fitted afterwards."});
  findings.goals.push_back({"no key found by searching proves ownership",
                            fmt::format("best of {} tries: {}", searched, fmt::join(searches, ", ")),
                            !any_search_won});
  findings.goals.push_back({"probability at most 2⁻¹²⁸ a try at the strict threshold of 228 matches of 256",
                            fmt::format("2^{:.1f} by the binomial", strict_chance), strict_chance <= -128});
  findings.goals.push_back({"Uchida's scheme with a free matrix is forged every time, as known",
                            matrix_always ? "every try succeeded" : "not every try succeeded",
                            matrix_always});
  return findings;
}

}  // namespace

Experiment forging_experiment() {
  return {"forging", "Forging a claim", "What would it take to claim a network one never marked?", run};
}

}  // namespace dw
