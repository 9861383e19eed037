#include "watermark/channels.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/ops.h"
#include "kernels/error.h"

namespace dw {
namespace {

constexpr std::array norm_vectors{".weight", ".bias", ".running_mean", ".running_var"};

void select(ModelTensor& tensor, const ChannelView& view, std::span<const int64_t> sources, size_t axis) {
  const auto count = static_cast<int64_t>(sources.size());
  std::vector<float> values;
  values.reserve(static_cast<size_t>(view.outer * count * view.inner));
  for (int64_t o = 0; o < view.outer; ++o) {
    for (const int64_t source : sources) {
      const auto first = tensor.values.begin() + static_cast<std::ptrdiff_t>(view.index(o, source, 0));
      values.insert(values.end(), first, first + view.inner);
    }
  }
  tensor.shape[axis] = tensor.shape[axis] / view.channels * count;
  tensor.values = std::move(values);
}

void multiply_channels(ModelTensor& tensor, const ChannelView& view, std::span<const double> factors,
                       bool inverse) {
  for (int64_t o = 0; o < view.outer; ++o) {
    for (int64_t c = 0; c < view.channels; ++c) {
      const double factor = inverse ? 1 / factors[static_cast<size_t>(c)] : factors[static_cast<size_t>(c)];
      for (int64_t i = 0; i < view.inner; ++i) {
        float& value = tensor.values[view.index(o, c, i)];
        value = static_cast<float>(value * factor);
      }
    }
  }
}

void require_factors(const Model& model, const ChannelGroup& group, std::span<const double> factors) {
  require(static_cast<int64_t>(factors.size()) == channels_of(model, group),
          "{} factors for {} channels of {}", factors.size(), channels_of(model, group),
          group.producers.front().weight);
}

// What comes to a batch norm is multiplied by `factors`: its output stays.
void compensate(Model& model, const std::string& norm, std::span<const double> factors) {
  multiply_channels(model.at(norm + ".running_mean"), {1, static_cast<int64_t>(factors.size()), 1}, factors,
                    false);
  std::vector<float>& variance = model.at(norm + ".running_var").values;
  std::vector<float>& weight = model.at(norm + ".weight").values;
  const double epsilon = BatchNormOptions{}.epsilon;
  for (size_t c = 0; c < factors.size(); ++c) {
    const double scaled = factors[c] * factors[c] * (variance[c] + epsilon) - epsilon;
    variance[c] = static_cast<float>(std::max(0.0, scaled));
    if (factors[c] < 0) weight[c] = -weight[c];
  }
}

void multiply_output(Model& model, const std::string& norm, std::span<const double> factors) {
  for (const char* const vector : {".weight", ".bias"})
    multiply_channels(model.at(norm + vector), {1, static_cast<int64_t>(factors.size()), 1}, factors, false);
}

}  // namespace

ChannelView producer_view(const ModelTensor& weight) {
  const int64_t channels = weight.shape.at(0);
  return {1, channels, static_cast<int64_t>(weight.values.size()) / channels};
}

ChannelView consumer_view(const ModelTensor& weight, int64_t channels) {
  require(weight.shape.size() >= 2 && weight.shape[1] % channels == 0,
          "{} of shape {} does not read {} channels", weight.name, weight.shape, channels);
  const int64_t outer = weight.shape[0];
  return {outer, channels, static_cast<int64_t>(weight.values.size()) / (outer * channels)};
}

int64_t channels_of(const Model& model, const ChannelGroup& group) {
  return model.at(group.producers.front().weight).shape.at(0);
}

void select_channels(Model& model, const ChannelGroup& group, std::span<const int64_t> sources) {
  const int64_t channels = channels_of(model, group);
  for (const int64_t source : sources)
    require(source >= 0 && source < channels, "channel {} of {} in {}", source, channels,
            group.producers.front().weight);
  const auto select_norm = [&](const std::string& norm) {
    if (norm.empty()) return;
    for (const char* const vector : norm_vectors)
      select(model.at(norm + vector), {1, channels, 1}, sources, 0);
  };
  for (const ChannelProducer& producer : group.producers) {
    ModelTensor& weight = model.at(producer.weight);
    select(weight, producer_view(weight), sources, 0);
    if (!producer.bias.empty()) select(model.at(producer.bias), {1, channels, 1}, sources, 0);
    select_norm(producer.norm);
  }
  for (const ChannelReader& reader : group.readers) {
    select_norm(reader.norm);
    for (const std::string& name : reader.consumers) {
      ModelTensor& weight = model.at(name);
      select(weight, consumer_view(weight, channels), sources, 1);
    }
  }
}

void scale_producer(Model& model, const ChannelProducer& producer, std::span<const double> factors) {
  if (producer.norm.empty()) return;
  ModelTensor& weight = model.at(producer.weight);
  multiply_channels(weight, producer_view(weight), factors, false);
  if (!producer.bias.empty())
    multiply_channels(model.at(producer.bias), {1, static_cast<int64_t>(factors.size()), 1}, factors, false);
  compensate(model, producer.norm, factors);
}

void scale_channels(Model& model, const ChannelGroup& group, std::span<const double> factors) {
  require_factors(model, group, factors);
  const auto channels = static_cast<int64_t>(factors.size());
  for (const ChannelReader& reader : group.readers) {
    if (reader.norm.empty() && std::ranges::any_of(factors, [](double factor) { return factor <= 0; }))
      throw UsageError(
          fmt::format("channels of {} pass through ReLU alone: only positive factors keep the function",
                      group.producers.front().weight));
  }
  for (const ChannelProducer& producer : group.producers) {
    if (!producer.norm.empty()) {
      multiply_output(model, producer.norm, factors);
      continue;
    }
    ModelTensor& weight = model.at(producer.weight);
    multiply_channels(weight, producer_view(weight), factors, false);
    if (!producer.bias.empty()) multiply_channels(model.at(producer.bias), {1, channels, 1}, factors, false);
  }
  for (const ChannelReader& reader : group.readers) {
    if (!reader.norm.empty()) {
      compensate(model, reader.norm, factors);
      continue;
    }
    for (const std::string& name : reader.consumers) {
      ModelTensor& weight = model.at(name);
      multiply_channels(weight, consumer_view(weight, channels), factors, true);
    }
  }
}

void scale_reader(Model& model, const ChannelReader& reader, std::span<const double> factors) {
  if (reader.norm.empty()) return;
  multiply_output(model, reader.norm, factors);
  for (const std::string& name : reader.consumers) {
    ModelTensor& weight = model.at(name);
    multiply_channels(weight, consumer_view(weight, static_cast<int64_t>(factors.size())), factors, true);
  }
}

}  // namespace dw
