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
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
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
      require(found >= own, "{}: the original has {} channels, the suspect {}", groups_[g].producers.front(),
              own, found);
      result_.groups.push_back({groups_[g].producers.front(), own, found, 0, 0, 0});
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
  std::vector<std::string> comparable_producers(const ChannelGroup& group) const {
    std::vector<std::string> names;
    for (const std::string& name : group.producers)
      if (is_aligned(name)) names.push_back(name);
    return names;
  }
  std::vector<std::string> comparable_consumers(const ChannelGroup& group) const {
    std::vector<std::string> names;
    for (const ChannelReader& reader : group.readers) {
      for (const std::string& name : reader.consumers) {
        const auto produces = [&](const ChannelGroup& other) {
          return std::ranges::find(other.producers, name) != other.producers.end();
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
    for (const std::string& name : comparable_producers(group))
      parts.push_back({&model.at(name), producer_view(model.at(name))});
    for (const std::string& name : comparable_consumers(group)) {
      const ModelTensor& other = original_.at(name);
      // A transferred model has another last layer.
      if (model.at(name).shape[0] == other.shape[0] && result_.model.at(name).shape[0] == other.shape[0])
        parts.push_back({&model.at(name), consumer_view(model.at(name), channels)});
    }
    return profiles(parts, channels);
  }

  bool match(size_t g) {
    const ChannelGroup& group = groups_[g];
    const std::vector<Profile> own = profiles_of(original_, group);
    const std::vector<Profile> found = profiles_of(result_.model, group);
    std::vector<double> similarity;
    similarity.reserve(own.size() * found.size());
    for (const Profile& profile : own) {
      for (const Profile& other : found) {
        require(other.size() == profile.size(),
                "{}: the original's channels have {} weights, the suspect's {}", group.producers.front(),
                profile.size(), other.size());
        similarity.push_back(inner_product(profile, other));
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
      sum += similarity[c * found.size() + from];
    }
    result_.groups[g].similarity = sum / static_cast<double>(own.size());
    if (moved) select_channels(result_.model, group, chosen);
    order_[g] = std::move(order);
    return moved;
  }

  static double norm_of(const Model& model, const std::vector<std::string>& producers, int64_t channel) {
    double squares = 0;
    for (const std::string& name : producers) {
      const ModelTensor& weight = model.at(name);
      const ChannelView view = producer_view(weight);
      for (int64_t i = 0; i < view.inner; ++i)
        squares += std::pow(double{weight.values[view.index(0, channel, i)]}, 2);
    }
    return std::sqrt(squares);
  }

  // The sign batch norm gives a channel, against the original's: a flipped filter shows there.
  double sign_of(const ChannelGroup& group, size_t channel) const {
    double vote = 0;
    for (const ChannelReader& reader : group.readers) {
      if (reader.norm.empty()) continue;
      const double own = original_.at(reader.norm + ".weight").values[channel];
      const double found = result_.model.at(reader.norm + ".weight").values[channel];
      vote += own * found / (std::fabs(own) + std::fabs(found) + 1e-30);
    }
    return vote < 0 ? -1 : 1;
  }

  void rescale(size_t g) {
    const ChannelGroup& group = groups_[g];
    const int64_t channels = channels_of(original_, group);
    const std::vector<std::string> producers = comparable_producers(group);
    std::vector<double> factors;
    for (int64_t c = 0; c < channels; ++c) {
      const double own = norm_of(original_, producers, c), found = norm_of(result_.model, producers, c);
      const double sign = sign_of(group, static_cast<size_t>(c));
      if (sign < 0) {
        // Counted by where the channel was found, so that flipping back and forth cancels.
        const int64_t source = order_[g][static_cast<size_t>(c)];
        if (!flipped_[g].insert(source).second) flipped_[g].erase(source);
      }
      factors.push_back(sign * (own > 0 && found > 0 ? own / found : 1));
    }
    scale_channels(result_.model, group, factors);
    for (const ChannelReader& reader : group.readers) {
      if (reader.norm.empty()) continue;
      std::vector<double> sizes;
      for (size_t c = 0; c < factors.size(); ++c) {
        const auto size = [&](const Model& model) {
          return std::hypot(model.at(reader.norm + ".weight").values[c],
                            model.at(reader.norm + ".bias").values[c]);
        };
        const double own = size(original_), found = size(result_.model);
        sizes.push_back(own > 0 && found > 0 ? own / found : 1);
      }
      scale_reader(result_.model, reader, sizes);
    }
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
  std::map<size_t, std::set<int64_t>> flipped_;
};

}  // namespace

Realignment realign(const Model& suspect, const Model& original) {
  return Aligner(suspect, original).run();
}

}  // namespace dw
