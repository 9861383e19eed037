#include "layers/channel_groups.h"

#include <algorithm>

namespace dw {
namespace {

class Names {
 public:
  explicit Names(const NetworkSpec& spec) {
    for (const auto& [name, tensor] : make_network(spec)->parameters()) names_.push_back(name);
  }
  bool has(const std::string& name) const { return std::ranges::find(names_, name) != names_.end(); }
  const std::vector<std::string>& list() const { return names_; }

 private:
  std::vector<std::string> names_;
};

// The stream of a stage goes on through blocks without a shortcut convolution and ends at one that has it.
std::vector<ChannelGroup> wide_resnet_groups(const Names& names) {
  std::vector<ChannelGroup> groups{{{{"conv1.weight", "", ""}}, {}}};
  size_t stream = 0;
  for (int stage = 1; stage <= 3; ++stage) {
    for (int layer = 0;; ++layer) {
      const std::string block = fmt::format("block{}.layer.{}.", stage, layer);
      if (!names.has(block + "conv1.weight")) break;
      const std::string shortcut = block + "convShortcut.weight";
      ChannelReader entry{block + "bn1", {block + "conv1.weight"}};
      if (names.has(shortcut)) entry.consumers.push_back(shortcut);
      groups[stream].readers.push_back(std::move(entry));
      groups.push_back({{{block + "conv1.weight", "", ""}}, {{block + "bn2", {block + "conv2.weight"}}}});
      if (names.has(shortcut)) {
        stream = groups.size();
        groups.push_back({{{block + "conv2.weight", "", ""}, {shortcut, "", ""}}, {}});
      } else {
        groups[stream].producers.push_back({block + "conv2.weight", "", ""});
      }
    }
  }
  groups[stream].readers.push_back({"bn1", {"fc.weight"}});
  return groups;
}

// What a block adds to the stream has gone through batch norm; a block reads the stream through ReLU alone.
std::vector<ChannelGroup> resnet_groups(const Names& names) {
  std::vector<ChannelGroup> groups{{{{"conv1.weight", "", "bn1"}}, {}}};
  size_t stream = 0;
  for (int stage = 1; stage <= 4; ++stage) {
    for (int layer = 0;; ++layer) {
      const std::string block = fmt::format("layer{}.{}.", stage, layer);
      if (!names.has(block + "conv1.weight")) break;
      const std::string shortcut = block + "downsample.0.weight";
      ChannelReader entry{"", {block + "conv1.weight"}};
      if (names.has(shortcut)) entry.consumers.push_back(shortcut);
      groups[stream].readers.push_back(std::move(entry));
      groups.push_back({{{block + "conv1.weight", "", ""}}, {{block + "bn1", {block + "conv2.weight"}}}});
      ChannelProducer exit{block + "conv2.weight", "", block + "bn2"};
      if (names.has(shortcut)) {
        stream = groups.size();
        groups.push_back({{std::move(exit), {shortcut, "", block + "downsample.1"}}, {}});
      } else {
        groups[stream].producers.push_back(std::move(exit));
      }
    }
  }
  groups[stream].readers.push_back({"", {"fc.weight"}});
  return groups;
}

// Layers one after the other, with ReLU, pooling and flattening between them.
std::vector<ChannelGroup> chain_groups(const Names& names) {
  std::vector<ChannelGroup> groups;
  std::string previous;
  for (const std::string& name : names.list()) {
    if (!name.ends_with(".weight")) continue;
    if (!previous.empty()) {
      const std::string bias = previous.substr(0, previous.size() - 6) + "bias";
      groups.push_back({{{previous, names.has(bias) ? bias : "", ""}}, {{"", {name}}}});
    }
    previous = name;
  }
  return groups;
}

}  // namespace

std::vector<ChannelGroup> channel_groups(const NetworkSpec& spec) {
  const Names names(spec);
  if (spec.name.starts_with("wrn-")) return wide_resnet_groups(names);
  return spec.name.starts_with("resnet-") ? resnet_groups(names) : chain_groups(names);
}

}  // namespace dw
