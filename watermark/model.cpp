#include "watermark/model.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "core/safetensors.h"
#include "kernels/error.h"

namespace dw {
namespace {

const std::string& text_metadata(const Model& model, const std::string& name) {
  const auto found = model.metadata.find(name);
  require(found != model.metadata.end(), "the metadata does not say \"{}\": not a model of this program",
          name);
  return found->second;
}

int64_t number_metadata(const Model& model, const std::string& name) {
  const std::string& text = text_metadata(model, name);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc() && end == text.data() + text.size() && value > 0 && value < (int64_t{1} << 31),
          "expected a positive number as \"{}\" in the metadata, found \"{}\"", name, text);
  return value;
}

}  // namespace

const ModelTensor* Model::find(std::string_view name) const {
  const auto found =
      std::ranges::find_if(tensors, [&](const ModelTensor& tensor) { return tensor.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

ModelTensor* Model::find(std::string_view name) {
  return const_cast<ModelTensor*>(std::as_const(*this).find(name));
}

const ModelTensor& Model::at(std::string_view name) const {
  if (const ModelTensor* found = find(name)) return *found;
  std::vector<std::string_view> names;
  for (const ModelTensor& tensor : tensors) names.push_back(tensor.name);
  constexpr size_t most_named = 12;
  fail("the model has no tensor \"{}\"; it has {}{}", name,
       fmt::join(std::span(names).first(std::min(names.size(), most_named)), ", "),
       names.size() > most_named ? fmt::format(" and {} more", names.size() - most_named) : "");
}

ModelTensor& Model::at(std::string_view name) {
  return const_cast<ModelTensor&>(std::as_const(*this).at(name));
}

Model read_model(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  Model model{file.metadata(), {}};
  for (const auto& [name, entry] : file.entries()) {
    require(is_floating(entry.dtype), "{}: expected floating-point tensors, found {} in {}", path.string(),
            entry.dtype, name);
    model.tensors.push_back({name, entry.shape, file.read_f32(name)});
  }
  return model;
}

void write_model(const Model& model, const std::filesystem::path& path) {
  std::map<std::string, SafetensorsEntry> entries;
  for (const ModelTensor& tensor : model.tensors) {
    const bool added = entries
                           .emplace(tensor.name, SafetensorsEntry{"F32", tensor.shape,
                                                                  std::as_bytes(std::span(tensor.values))})
                           .second;
    require(added, "the model has two tensors named {}", tensor.name);
  }
  write_safetensors(path, model.metadata, entries);
}

Model model_of(const Module& network, std::map<std::string, std::string> metadata) {
  Model model{std::move(metadata), {}};
  for (const auto& [name, tensor] : network.state())
    model.tensors.push_back({name, tensor.shape(), tensor.to_vector<float>()});
  return model;
}

void load_into(Module& network, const Model& model) {
  const std::vector<NamedTensor> state = network.state();
  std::string problems;
  std::set<std::string_view> expected;
  for (const auto& [name, tensor] : state) {
    expected.insert(name);
    const ModelTensor* found = model.find(name);
    if (found == nullptr) {
      problems += fmt::format("\n  {}: expected {}, found no such tensor", name, tensor.shape());
    } else if (found->shape != tensor.shape()) {
      problems += fmt::format("\n  {}: expected {}, found {}", name, tensor.shape(), found->shape);
    } else if (static_cast<int64_t>(found->values.size()) != tensor.numel()) {
      problems +=
          fmt::format("\n  {}: expected {} values, found {}", name, tensor.numel(), found->values.size());
    }
  }
  for (const ModelTensor& tensor : model.tensors)
    if (!expected.contains(tensor.name)) problems += fmt::format("\n  {}: not expected", tensor.name);
  require(problems.empty(), "the model does not fit the network:{}", problems);
  for (const auto& [name, tensor] : state)
    tensor.copy_from(Tensor::from(model.at(name).values, tensor.shape()));
}

NetworkSpec spec_of(const Model& model) {
  return {text_metadata(model, "network"), number_metadata(model, "classes"),
          number_metadata(model, "channels"), number_metadata(model, "height"),
          number_metadata(model, "width")};
}

std::unique_ptr<Module> network_of(const Model& model) {
  std::unique_ptr<Module> network = make_network(spec_of(model));
  const auto shapes = model.metadata.find("shapes");
  if (shapes != model.metadata.end() && shapes->second == "own") {
    std::map<std::string, Shape> own;
    for (const auto& [name, tensor] : network->state()) {
      const ModelTensor* found = model.find(name);
      if (found != nullptr && found->shape.size() == tensor.shape().size() && found->shape != tensor.shape())
        own[name] = found->shape;
    }
    network->resize(own);
  }
  load_into(*network, model);
  return network;
}

}  // namespace dw
