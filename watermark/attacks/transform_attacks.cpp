// Changes that keep what the network computes: permuted, rescaled, flipped and added channels.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/random.h"
#include "kernels/error.h"
#include "watermark/attacks/kinds.h"
#include "watermark/channels.h"

namespace dw {
namespace {

// Independent draws of one attack, each from a key of its own.
class Draws {
 public:
  explicit Draws(const AttackContext& context) : context_(context) {}
  std::vector<float> uniform(int64_t count, double low, double high) {
    return random_uniform({count}, attack_draw(context_, index_++), low, high).to_vector<float>();
  }
  std::vector<float> normal(int64_t count, double deviation) {
    return random_normal({count}, attack_draw(context_, index_++), 0, deviation).to_vector<float>();
  }

 private:
  const AttackContext& context_;
  uint32_t index_ = 0;
};

std::vector<int64_t> random_order(int64_t count, Draws& draws) {
  const std::vector<float> rank = draws.uniform(count, 0, 1);
  std::vector<int64_t> order(rank.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int64_t i) { return rank[static_cast<size_t>(i)]; });
  return order;
}

AttackAction make_permute(const AttackArguments&) {
  return weights_only([](Model& model, const AttackContext& context) {
    Draws draws(context);
    for (const ChannelGroup& group : channel_groups(spec_of(model)))
      select_channels(model, group, random_order(channels_of(model, group), draws));
  });
}

// Between 1 / range and range, evenly on a logarithmic scale.
std::vector<double> random_factors(int64_t count, double range, Draws& draws) {
  std::vector<double> factors;
  for (const double exponent : draws.uniform(count, -1, 1)) factors.push_back(std::pow(range, exponent));
  return factors;
}

AttackAction make_rescale(const AttackArguments& arguments) {
  const double range = arguments.number("range", 1, 1000);
  return weights_only([=](Model& model, const AttackContext& context) {
    Draws draws(context);
    for (const ChannelGroup& group : channel_groups(spec_of(model))) {
      const int64_t channels = channels_of(model, group);
      for (const ChannelProducer& producer : group.producers)
        if (!producer.norm.empty()) scale_producer(model, producer, random_factors(channels, range, draws));
      scale_channels(model, group, random_factors(channels, range, draws));
      for (const ChannelReader& reader : group.readers)
        scale_reader(model, reader, random_factors(channels, range, draws));
    }
  });
}

AttackAction make_flip(const AttackArguments& arguments) {
  const double share = arguments.number("share", 0, 1);
  return weights_only([=](Model& model, const AttackContext& context) {
    Draws draws(context);
    bool possible = false;
    const auto signs_for = [&](const ChannelGroup& group) {
      possible = true;
      std::vector<double> signs;
      for (const float draw : draws.uniform(channels_of(model, group), 0, 1))
        signs.push_back(draw < share ? -1 : 1);
      return signs;
    };
    for (const ChannelGroup& group : channel_groups(spec_of(model))) {
      for (const ChannelProducer& producer : group.producers)
        if (!producer.norm.empty()) scale_producer(model, producer, signs_for(group));
      const auto has_norm = [](const ChannelReader& reader) { return !reader.norm.empty(); };
      if (std::ranges::all_of(group.readers, has_norm)) scale_channels(model, group, signs_for(group));
    }
    if (!possible)
      throw UsageError(fmt::format(
          "attack flip: {} has no batch norm behind its layers, whose sign could be flipped with theirs",
          spec_of(model).name));
  });
}

double deviation_of(const ModelTensor& tensor) {
  double squares = 0;
  for (const double value : tensor.values) squares += value * value;
  return std::sqrt(squares / static_cast<double>(std::max<size_t>(1, tensor.values.size())));
}

// Two channels that carry the same and are read with opposite signs (a clique of neurons: Yan et al.,
// "Rethinking White-Box Watermarks on Deep Learning Models under Neural Structural Obfuscation", USENIX
// Security 2023).
void add_pairs(Model& model, const ChannelGroup& group, int64_t pairs, Draws& draws) {
  const int64_t old_channels = channels_of(model, group);
  std::vector<int64_t> sources(static_cast<size_t>(old_channels));
  std::iota(sources.begin(), sources.end(), 0);
  for (const float draw : draws.uniform(pairs, 0, static_cast<double>(old_channels))) {
    const int64_t source = std::min(old_channels - 1, static_cast<int64_t>(draw));
    sources.insert(sources.end(), 2, source);
  }
  select_channels(model, group, sources);
  const int64_t channels = old_channels + 2 * pairs;
  for (const ChannelProducer& producer : group.producers) {
    ModelTensor& weight = model.at(producer.weight);
    const ChannelView view = producer_view(weight);
    const double deviation = deviation_of(weight);
    for (int64_t first = old_channels; first < channels; first += 2) {
      const std::vector<float> row = draws.normal(view.inner, deviation);
      for (const int64_t channel : {first, first + 1})
        std::ranges::copy(row,
                          weight.values.begin() + static_cast<std::ptrdiff_t>(view.index(0, channel, 0)));
    }
  }
  for (const ChannelReader& reader : group.readers) {
    for (const std::string& name : reader.consumers) {
      ModelTensor& weight = model.at(name);
      const ChannelView view = consumer_view(weight, channels);
      const double deviation = deviation_of(weight);
      for (int64_t first = old_channels; first < channels; first += 2) {
        const std::vector<float> column = draws.normal(view.outer * view.inner, deviation);
        for (int64_t o = 0; o < view.outer; ++o) {
          for (int64_t i = 0; i < view.inner; ++i) {
            const float value = column[static_cast<size_t>(o * view.inner + i)];
            weight.values[view.index(o, first, i)] = value;
            weight.values[view.index(o, first + 1, i)] = -value;
          }
        }
      }
    }
  }
}

AttackAction make_dummy(const AttackArguments& arguments) {
  const double share = arguments.number("share", 0, 4);
  return weights_only([=](Model& model, const AttackContext& context) {
    Draws draws(context);
    for (const ChannelGroup& group : channel_groups(spec_of(model))) {
      const auto channels = static_cast<double>(channels_of(model, group));
      const auto pairs = static_cast<int64_t>(std::ceil(share * channels / 2));
      if (pairs > 0) add_pairs(model, group, pairs, draws);
    }
    model.metadata["shapes"] = "own";
  });
}

}  // namespace

std::span<const AttackDefinition> transform_attacks() {
  static const std::array<AttackDefinition, 4> list{{
      {"permute", "hidden channels in random order; keeps the function", {}, make_permute},
      {"rescale",
       "hidden channels scaled up or down by up to this factor, undone behind; keeps the function",
       {{"range", "4"}},
       make_rescale},
      {"flip",
       "a share of hidden channels negated before batch norm, undone by its weight; keeps the function",
       {{"share", "0.5"}},
       make_flip},
      {"dummy",
       "a share of hidden channels added in pairs that cancel; keeps the function",
       {{"share", "0.25"}},
       make_dummy},
  }};
  return list;
}

}  // namespace dw
