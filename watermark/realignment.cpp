#include "watermark/realignment.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/error.h"
#include "watermark/channels.h"

namespace dw {
namespace {

// Magnitudes of what a channel is made of, its mean taken off and its norm made 1: comparable by inner
// product.
using Profile = std::vector<float>;

struct Part {
  const ModelTensor* tensor;
  ChannelView view;
};

std::vector<Profile> profiles(const std::vector<Part>& parts, int64_t channels) {
  std::vector<Profile> result(static_cast<size_t>(channels));
  for (int64_t c = 0; c < channels; ++c) {
    Profile& profile = result[static_cast<size_t>(c)];
    // Each tensor counts by its number of weights, whatever its scale.
    for (const auto& [tensor, view] : parts) {
      const size_t first = profile.size();
      double sum = 0, squares = 0;
      for (int64_t o = 0; o < view.outer; ++o)
        for (int64_t i = 0; i < view.inner; ++i)
          profile.push_back(std::fabs(tensor->values[view.index(o, c, i)]));
      const auto own = std::span(profile).subspan(first);
      for (const double value : own) sum += value;
      const auto mean = static_cast<float>(sum / static_cast<double>(own.size()));
      for (float& value : own) {
        value -= mean;
        squares += double{value} * value;
      }
      const double norm = std::sqrt(squares / static_cast<double>(own.size()));
      for (float& value : own) value = norm > 0 ? static_cast<float>(value / norm) : 0;
    }
    for (float& value : profile) value /= std::sqrt(static_cast<float>(profile.size()));
  }
  return result;
}

double inner_product(const Profile& a, const Profile& b) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Whether two channels stand alike between their batch norms' scale and shift, 0 to 1; mean over the norms.
double closeness(const std::vector<double>& a, const std::vector<double>& b) {
  constexpr double near = 0.01;  // radians
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += 1 / (1 + std::pow((a[i] - b[i]) / near, 2));
  return a.empty() ? 0 : sum / static_cast<double>(a.size());
}

// Batch norms that a group's producers pass before they are summed, and those that read the sum.
std::vector<std::string> norms_before(const ChannelGroup& group) {
  std::vector<std::string> norms;
  for (const ChannelProducer& producer : group.producers)
    if (!producer.norm.empty()) norms.push_back(producer.norm);
  return norms;
}
std::vector<std::string> norms_behind(const ChannelGroup& group) {
  std::vector<std::string> norms;
  for (const ChannelReader& reader : group.readers)
    if (!reader.norm.empty()) norms.push_back(reader.norm);
  return norms;
}

class Aligner {
 public:
  Aligner(const Model& suspect, const Model& original)
      : original_(original), result_{suspect, 2, {}}, groups_(channel_groups(spec_of(original))) {
    check_tensors();
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (const ChannelReader& reader : groups_[g].readers)
        for (const std::string& name : reader.consumers) input_of_[name] = g;
      const int64_t own = channels_of(original_, groups_[g]);
      const int64_t found = channels_of(result_.model, groups_[g]);
      require(found >= own, "{}: the original has {} channels, the suspect {}",
              groups_[g].producers.front().weight, own, found);
      result_.groups.push_back({groups_[g].producers.front().weight, own, found, 0, 0, 0});
      order_.emplace_back();
      for (int64_t c = 0; c < found; ++c) order_.back().push_back(c);
    }
  }

  Realignment run() {
    // At first a group is matched by what reads groups matched before it; then by all it touches, until
    // nothing moves any more.
    for (size_t g = 0; g < groups_.size(); ++g) {
      match(g);
      aligned_.insert(g);
      rescale(g);
    }
    constexpr int most_rounds = 5;
    bool moved = true;
    for (int round = 0; moved && round < most_rounds; ++round) {
      moved = false;
      for (size_t g = 0; g < groups_.size(); ++g) {
        moved |= match(g);
        rescale(g);
      }
    }
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (size_t c = 0; c < order_[g].size(); ++c)
        result_.groups[g].moved += order_[g][c] != static_cast<int64_t>(c);
      result_.groups[g].flipped = static_cast<int64_t>(flipped_[g].size());
    }
    check_shapes();
    result_.model.metadata.erase("shapes");
    return std::move(result_);
  }

 private:
  void check_tensors() const {
    for (const ModelTensor& tensor : original_.tensors)
      require(result_.model.find(tensor.name) != nullptr, "the suspect has no {}, which the original has",
              tensor.name);
    for (const ModelTensor& tensor : result_.model.tensors) {
      require(original_.find(tensor.name) != nullptr, "the original has no {}, which the suspect has",
              tensor.name);
      require(tensor.shape.size() == original_.at(tensor.name).shape.size(),
              "{}: the original has shape {}, the suspect {}", tensor.name, original_.at(tensor.name).shape,
              tensor.shape);
      require(std::ranges::all_of(tensor.values, [](float value) { return std::isfinite(value); }),
              "{}: the suspect's weights are not finite", tensor.name);
    }
  }

  bool is_aligned(const std::string& weight) const {
    const auto input = input_of_.find(weight);
    return input == input_of_.end() || aligned_.contains(input->second);
  }

  // What both models can be compared by: producers whose inputs are aligned, consumers whose outputs are.
  std::vector<ChannelProducer> comparable_producers(const ChannelGroup& group) const {
    std::vector<ChannelProducer> producers;
    for (const ChannelProducer& producer : group.producers)
      if (is_aligned(producer.weight)) producers.push_back(producer);
    return producers;
  }
  std::vector<std::string> comparable_consumers(const ChannelGroup& group) const {
    std::vector<std::string> names;
    for (const ChannelReader& reader : group.readers) {
      for (const std::string& name : reader.consumers) {
        const auto produces = [&](const ChannelGroup& other) {
          return std::ranges::find(other.producers, name, &ChannelProducer::weight) != other.producers.end();
        };
        const auto output = std::ranges::find_if(groups_, produces);
        if (output == groups_.end() || aligned_.contains(static_cast<size_t>(output - groups_.begin())))
          names.push_back(name);
      }
    }
    return names;
  }

  std::vector<Profile> profiles_of(const Model& model, const ChannelGroup& group) const {
    const int64_t channels = channels_of(model, group);
    std::vector<Part> parts;
    for (const ChannelProducer& producer : comparable_producers(group))
      parts.push_back({&model.at(producer.weight), producer_view(model.at(producer.weight))});
    for (const std::string& name : comparable_consumers(group)) {
      const ModelTensor& other = original_.at(name);
      // A transferred model has another last layer.
      if (model.at(name).shape[0] == other.shape[0] && result_.model.at(name).shape[0] == other.shape[0])
        parts.push_back({&model.at(name), consumer_view(model.at(name), channels)});
    }
    return profiles(parts, channels);
  }

  // The angle between shift and scale of each batch norm at a channel: neither rescaling nor flipping changes
  // it, nor does pruning.
  static std::vector<std::vector<double>> angles_of(const Model& model, const ChannelGroup& group) {
    std::vector<std::string> norms = norms_before(group);
    std::ranges::copy(norms_behind(group), std::back_inserter(norms));
    std::vector<std::vector<double>> angles(static_cast<size_t>(channels_of(model, group)));
    for (const std::string& norm : norms) {
      const ModelTensor &scale = model.at(norm + ".weight"), &shift = model.at(norm + ".bias");
      for (size_t c = 0; c < angles.size(); ++c)
        angles[c].push_back(std::atan2(shift.values[c], std::fabs(scale.values[c])));
    }
    return angles;
  }

  bool match(size_t g) {
    const ChannelGroup& group = groups_[g];
    const std::vector<Profile> own = profiles_of(original_, group);
    const std::vector<Profile> found = profiles_of(result_.model, group);
    const auto own_angles = angles_of(original_, group), found_angles = angles_of(result_.model, group);
    // Too little to outweigh what weights say, enough to decide where pruning has left few of them.
    constexpr double angle_share = 0.5;
    // Of more channels than there were, those that carry the same as another may cancel it: last to be kept.
    std::vector<bool> is_pair(found.size(), false);
    for (size_t f = 0; f < found.size() && found.size() > own.size(); ++f)
      for (size_t other = 0; other < f; ++other)
        if (inner_product(found[f], found[other]) > 0.9999) is_pair[f] = is_pair[other] = true;
    std::vector<double> similarity;
    similarity.reserve(own.size() * found.size());
    for (size_t c = 0; c < own.size(); ++c) {
      for (size_t f = 0; f < found.size(); ++f) {
        require(found[f].size() == own[c].size(),
                "{}: the original's channels have {} weights, the suspect's {}",
                group.producers.front().weight, own[c].size(), found[f].size());
        similarity.push_back(inner_product(own[c], found[f]) +
                             angle_share * closeness(own_angles[c], found_angles[f]) - (is_pair[f] ? 1 : 0));
      }
    }
    const std::vector<int64_t> chosen =
        best_assignment(similarity, static_cast<int64_t>(own.size()), static_cast<int64_t>(found.size()));
    std::vector<int64_t> order;
    bool moved = own.size() != found.size();
    double sum = 0;
    for (size_t c = 0; c < chosen.size(); ++c) {
      const auto from = static_cast<size_t>(chosen[c]);
      moved |= from != c;
      order.push_back(order_[g][from]);
      sum += inner_product(own[c], found[from]);
    }
    result_.groups[g].similarity = sum / static_cast<double>(own.size());
    if (moved) select_channels(result_.model, group, chosen);
    order_[g] = std::move(order);
    return moved;
  }

  // Of a channel's filters in `model`, where the suspect's are not zero: pruning leaves scales comparable.
  double norm_of(const Model& model, std::span<const ChannelProducer> producers, int64_t channel) const {
    double squares = 0;
    for (const ChannelProducer& producer : producers) {
      const ModelTensor &weight = model.at(producer.weight), &left = result_.model.at(producer.weight);
      const ChannelView view = producer_view(weight);
      for (int64_t i = 0; i < view.inner; ++i) {
        const auto at = static_cast<size_t>(view.index(0, channel, i));
        if (left.values[at] != 0) squares += std::pow(double{weight.values[at]}, 2);
      }
    }
    return std::sqrt(squares);
  }

  // The sign that these batch norms give a channel, against the original's: a flipped filter shows there.
  double sign_of(const std::vector<std::string>& norms, size_t channel) const {
    double vote = 0;
    for (const std::string& norm : norms) {
      const double own = original_.at(norm + ".weight").values[channel];
      const double found = result_.model.at(norm + ".weight").values[channel];
      vote += own * found / (std::fabs(own) + std::fabs(found) + 1e-30);
    }
    return vote < 0 ? -1 : 1;
  }

  // By how much these filters, read through these batch norms, are to be multiplied to be the original's
  // again.
  std::vector<double> filter_factors(size_t g, std::span<const ChannelProducer> producers,
                                     const std::vector<std::string>& norms) {
    std::vector<double> factors;
    for (size_t c = 0; c < order_[g].size(); ++c) {
      const auto channel = static_cast<int64_t>(c);
      const double own = norm_of(original_, producers, channel),
                   found = norm_of(result_.model, producers, channel);
      const double sign = sign_of(norms, c);
      if (sign < 0) {
        // Counted by filter and by where the channel was found, so that flipping back and forth cancels.
        const std::pair flip{producers.front().weight, order_[g][c]};
        if (!flipped_[g].insert(flip).second) flipped_[g].erase(flip);
      }
      factors.push_back(sign * (own > 0 && found > 0 ? own / found : 1));
    }
    return factors;
  }

  // By how much the output of these batch norms is to be multiplied to have the original's size again.
  std::vector<double> output_factors(const std::vector<std::string>& norms, size_t channels) const {
    const auto size = [&](const Model& model, size_t c) {
      double squares = 0;
      for (const std::string& norm : norms)
        for (const char* const vector : {".weight", ".bias"})
          squares += std::pow(double{model.at(norm + vector).values[c]}, 2);
      return std::sqrt(squares);
    };
    std::vector<double> factors;
    for (size_t c = 0; c < channels; ++c) {
      const double own = size(original_, c), found = size(result_.model, c);
      factors.push_back(own > 0 && found > 0 ? own / found : 1);
    }
    return factors;
  }

  void rescale(size_t g) {
    const ChannelGroup& group = groups_[g];
    const std::vector<ChannelProducer> producers = comparable_producers(group);
    const std::vector<std::string> before = norms_before(group);
    const size_t channels = order_[g].size();
    if (before.empty()) {
      scale_channels(result_.model, group, filter_factors(g, producers, norms_behind(group)));
    } else {
      for (const ChannelProducer& producer : producers)
        scale_producer(result_.model, producer, filter_factors(g, std::span(&producer, 1), {producer.norm}));
      scale_channels(result_.model, group, output_factors(before, channels));
    }
    for (const ChannelReader& reader : group.readers)
      if (!reader.norm.empty()) scale_reader(result_.model, reader, output_factors({reader.norm}, channels));
  }

  // The last layer may tell other classes apart; everything else must fit now.
  void check_shapes() const {
    for (const ModelTensor& tensor : original_.tensors) {
      const ModelTensor& found = result_.model.at(tensor.name);
      const bool last = tensor.name == last_weight() || tensor.name == last_bias();
      require(last || found.shape == tensor.shape, "{}: the original has shape {}, the suspect {}",
              tensor.name, tensor.shape, found.shape);
    }
  }
  std::string last_weight() const { return groups_.back().readers.back().consumers.back(); }
  std::string last_bias() const {
    const std::string weight = last_weight();
    return weight.substr(0, weight.rfind('.')) + ".bias";
  }

  const Model& original_;
  Realignment result_;
  std::vector<ChannelGroup> groups_;
  std::map<std::string, size_t> input_of_;  // of every weight that reads hidden channels
  std::set<size_t> aligned_;
  std::vector<std::vector<int64_t>> order_;  // where in the suspect each channel was found
  std::map<size_t, std::set<std::pair<std::string, int64_t>>> flipped_;  // filters
};

}  // namespace

Realignment realign(const Model& suspect, const Model& original) {
  return Aligner(suspect, original).run();
}

}  // namespace dw
