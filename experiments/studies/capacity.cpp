// How many bits a network carries, at which strength, and where the program refuses.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/studies/summary.h"
#include "watermark/embedder.h"
#include "watermark/prediction.h"
#include "watermark/target.h"
#include "watermark/verifier.h"

namespace dw {
namespace {

// What the layers of the preset's network can hold.
struct Room {
  uint64_t weights = 0;

  explicit Room(const std::string& network) {
    for (const MarkedLayer& layer : default_marked_layers(*make_network({network})))
      weights += weight_count(layer);
  }
  double amplitude(double strength, int bits) const {
    return amplitude_for(strength, weights, bits, Density::gaussian());
  }
  bool fits(double strength, int bits) const {
    try {
      return amplitude(strength, bits) > 0;
    } catch (const UsageError&) {
      return false;
    }
  }
  // By asking, not by the formula that decides.
  int largest(double strength) const {
    int fitting = minimum_bits - 1, refused = maximum_bits + 1;
    while (refused - fitting > 1) {
      const int middle = (fitting + refused) / 2;
      (fits(strength, middle) ? fitting : refused) = middle;
    }
    return fitting;
  }
};

struct Load {
  int bits;
  double strength;
};

// Every payload at the strongest setting that fits; on a GPU at every one.
std::vector<Load> loads(const ExperimentContext& context, const Room& room) {
  const auto payloads = context.choose<std::vector<int>>({64, 512}, {64, 128, 256, 512, 1024, 2048},
                                                         {64, 128, 256, 512, 1024, 2048});
  std::vector<double> strengths{context.settings().strength, 7, 5, 3};
  std::vector<Load> list;
  for (const int bits : payloads) {
    for (const double strength : strengths) {
      if (!room.fits(strength, bits)) continue;
      list.push_back({bits, strength});
      if (context.preset() != Preset::paper) break;
    }
  }
  return list;
}

NetworkRequest request_for(const ExperimentContext& context, const Load& load) {
  NetworkRequest request{.scheme = "deepwater", .bits = load.bits};
  // The preset's own strength unsaid, so that other experiments' networks are used.
  if (load.strength != context.settings().strength)
    request.options.values["strength"] = fmt::format("{}", load.strength);
  return request;
}

Findings::Section layers_section(ExperimentContext& context, const NetworkRequest& request) {
  const Json layers = context.cell("layers alone of " + describe(request), [&]() -> Json {
    const TrainedFile file = context.network(request);
    const Verdict verdict = verify(load_claim(file.claim), load_key(file.key),
                                   SafetensorsFile::open(file.model), {.null_keys = 0});
    return Json::parse(to_json(verdict)).at("layers");
  });
  Table table({"layer", "weights", "bits right", "log₂ p"});
  int alone = 0;
  for (const Json& layer : layers) {
    const double log2_p = layer["log2_p"].get<double>();
    alone += log2_p <= -64;
    table.add_row({layer["name"].get<std::string>(), std::to_string(layer["weights"].get<uint64_t>()),
                   fmt::format("{}/{}", layer["matches"].get<int>(), layer["readable"].get<int>()),
                   fmt::format("{:.0f}", log2_p)});
  }
  return {.title = "What each layer proves alone",
          .text = fmt::format(
              "A thief may take some layers only. Of {} layers, {} prove the owner at 2⁻⁶⁴ without "
              "any of the others ({}).",
              layers.size(), alone, describe(request)),
          .table = table,
          .caption = "Each layer read as if the others were missing."};
}

Findings run(ExperimentContext& context) {
  const std::string& network = context.settings().network;
  const Room room(network);
  Table table({"bits T", "strength z*", "weights a bit", "amplitude a", "accuracy %", "change", "bit errors",
               "90 % pruned", "95 % pruned", "predicted at 95 %", "log₂ p at 95 %"});
  const double unmarked = 100 * context.network({}).accuracy;
  WorstReading unpruned, pruned;
  Series accuracy{.name = "marked", .x = {}, .y = {}, .markers = true};
  const std::vector<Load> list = loads(context, room);
  for (const Load& load : list) {
    const NetworkRequest request = request_for(context, load);
    const TrainedFile file = context.network(request);
    const double amplitude = room.amplitude(load.strength, load.bits);
    const double group = static_cast<double>(room.weights) / load.bits;
    const MarkReading plain = reading_from(context.attacked(request, "")),
                      most = reading_from(context.attacked(request, "prune:0.9")),
                      nearly_all = reading_from(context.attacked(request, "prune:0.95"));
    const auto errors = [](const MarkReading& reading) {
      return fmt::format("{}/{}", reading.errors, reading.bits);
    };
    unpruned.add(plain);
    if (load.strength == context.settings().strength) pruned.add(most);
    accuracy.x.push_back(load.bits);
    accuracy.y.push_back(100 * file.accuracy);
    const double predicted = predicted_bit_error_rate(amplitude, default_tau, group, 0.95);
    table.add_row({std::to_string(load.bits), fmt::format("{}", load.strength), fmt::format("{:.0f}", group),
                   fmt::format("{:.2f}", amplitude), fmt::format("{:.2f}", 100 * file.accuracy),
                   fmt::format("{:+.2f}", 100 * file.accuracy - unmarked), errors(plain), errors(most),
                   errors(nearly_all), fmt::format("{:.1f}", predicted * load.bits),
                   fmt::format("{:.0f}", nearly_all.log2_p)});
  }

  Table limits({"strength z*", "largest T that fits", "one bit more"});
  bool refusals = true;
  for (const double strength : {10.0, 7.0, 5.0, 3.0, 2.0}) {
    const int largest = room.largest(strength);
    std::string answer = "no limit below the format's";
    if (largest < maximum_bits) {
      try {
        room.amplitude(strength, largest + 1);
        answer = "accepted";
        refusals = false;
      } catch (const UsageError& error) {
        // It has to name the payload that does fit.
        const bool names_it = std::string(error.what()).find(fmt::format("that fits is {} bits", largest)) !=
                                  std::string::npos ||
                              largest < minimum_bits;
        answer = names_it ? "refused, naming it" : std::string("refused: ") + error.what();
        refusals = refusals && names_it;
      }
    }
    limits.add_row(
        {fmt::format("{}", strength), largest < minimum_bits ? "none" : std::to_string(largest), answer});
  }

  Findings findings;
  Chart chart{.figure = {.title = "Accuracy by payload",
                         .description = "Test accuracy of marked networks over the number of payload bits"},
              .x = {.label = "payload (bits)", .logarithmic = true},
              .y = {.label = "accuracy (%)"},
              .series = {accuracy},
              .horizontal = {{unmarked, "unmarked"}}};
  findings.sections.push_back(
      {.title = "Payload and strength",
       .text = fmt::format(
           "{} has {} weights in its marked layers. Each payload at the largest strength that fits. "
           "Unmarked: {:.2f} %.",
           network, room.weights, unmarked),
       .table = table,
       .svg = plot(chart),
       .caption = "Predicted: bit errors that independent draws from the marked density would leave after "
                  "pruning; a trained mark may do better. One seed."});
  findings.sections.push_back(
      {.title = "Where it refuses",
       .text = "A payload whose amplitude would exceed 0.9 is refused before training.",
       .table = limits});
  findings.sections.push_back(layers_section(
      context, request_for(context, {context.choose(64, 256, 256), context.settings().strength})));
  findings.goals.push_back(unpruned.no_error_goal("every bit of every payload that fits reads back"));
  findings.goals.push_back(pruned.no_error_goal(
      "after 90 % pruning no bit is lost at the preset's strength, whatever the payload"));
  findings.goals.push_back({"a payload one bit too large is refused, naming the largest that fits",
                            refusals ? "at every strength tried" : "not at every strength tried", refusals});
  return findings;
}

}  // namespace

Experiment capacity_experiment() {
  return {
      "capacity", "How many bits fit",
      "How do accuracy and bit errors change with the payload, where is the limit, and what does each layer "
      "prove alone?",
      run};
}

}  // namespace dw
