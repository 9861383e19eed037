// Which tensors of a network share a set of channels: what must change together when channels are permuted,
// rescaled, flipped, added or removed without changing what the network computes.
#pragma once

#include <string>
#include <vector>

#include "layers/networks.h"

namespace dw {

/// Where a group's channels are read: through batch norm (if any) and ReLU, by the weights that follow.
struct ChannelReader {
  std::string norm;                    ///< "block1.layer.0.bn1"; empty: none
  std::vector<std::string> consumers;  ///< weights; the channels are their axis 1, or equal parts of it after
                                       ///< a flatten
};

/// Channels that the producers' outputs are summed into: a layer's output, or the residual stream of a stage.
struct ChannelGroup {
  std::vector<std::string> producers;  ///< weights; the channels are their axis 0
  std::vector<std::string> biases;     ///< of the producers that have one
  std::vector<ChannelReader> readers;
};

/// The hidden channels of a network in the order of the forward pass: the first producer of a group reads the
/// image or earlier groups only. Inputs and classes are no group: their order is given from outside.
std::vector<ChannelGroup> channel_groups(const NetworkSpec& spec);

}  // namespace dw
