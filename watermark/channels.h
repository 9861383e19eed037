// Changes of a model's channels that keep its function: what transform attacks do and realignment undoes.
#pragma once

#include <span>
#include <vector>

#include "layers/channel_groups.h"
#include "watermark/model.h"

namespace dw {

/// As the model has them, which may be more than its network's name says.
int64_t channels_of(const Model& model, const ChannelGroup& group);

/// Channel i becomes the old channel `sources[i]`: a permutation, a choice or copies.
void select_channels(Model& model, const ChannelGroup& group, std::span<const int64_t> sources);

/// Multiplies a producer's output before its own batch norm by `factors`, none of them 0, and undoes it in
/// that batch norm's statistics and the sign of its weight. Does nothing for a producer without one.
void scale_producer(Model& model, const ChannelProducer& producer, std::span<const double> factors);

/// Multiplies what channel i carries by `factors[i]`, none of them 0, and undoes it where it is read: in
/// batch norm's statistics and the sign of its weight, or, without batch norm, in the consumers. There
/// factors must be positive (UsageError).
void scale_channels(Model& model, const ChannelGroup& group, std::span<const double> factors);

/// Multiplies batch norm's output by `factors`, all positive, and divides its consumers by them. Does nothing
/// for a reader without batch norm.
void scale_reader(Model& model, const ChannelReader& reader, std::span<const double> factors);

/// The weights of one tensor seen as [outer, channels, inner], along axis 0 or 1.
struct ChannelView {
  int64_t outer = 1, channels = 1, inner = 1;
  size_t index(int64_t o, int64_t c, int64_t i) const {
    return static_cast<size_t>((o * channels + c) * inner + i);
  }
};
ChannelView producer_view(const ModelTensor& weight);
ChannelView consumer_view(const ModelTensor& weight, int64_t channels);

}  // namespace dw
