// Which tensors of a network share a set of channels: what must change together when channels are permuted,
// rescaled, flipped, added or removed without changing what the network computes.
#pragma once

#include <string>
#include <vector>

#include "layers/networks.h"

namespace dw {

/// What writes a group's channels: a layer's output, through a batch norm of its own (if any).
struct ChannelProducer {
  std::string weight;  ///< the channels are its axis 0
  std::string bias;    ///< empty: none
  std::string norm;    ///< "layer1.0.bn2"; empty: none
};

/// Where a group's channels are read: through batch norm (if any) and ReLU, by the weights that follow.
struct ChannelReader {
  std::string norm;                    ///< "block1.layer.0.bn1"; empty: none
  std::vector<std::string> consumers;  ///< weights; the channels are their axis 1, or equal parts of it after
                                       ///< a flatten
};

/// Channels that the producers' outputs are summed into: a layer's output, or the residual stream of a stage.
/// Batch norm stands on one side of the sum: all producers have one, or readers may have.
struct ChannelGroup {
  std::vector<ChannelProducer> producers;
  std::vector<ChannelReader> readers;
};

/// The hidden channels of a network in the order of the forward pass: the first producer of a group reads the
/// image or earlier groups only. Inputs and classes are no group: their order is given from outside.
std::vector<ChannelGroup> channel_groups(const NetworkSpec& spec);

}  // namespace dw
