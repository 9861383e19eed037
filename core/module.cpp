#include "core/module.h"

namespace dw {
namespace {

template <typename Entries>
void append(std::vector<NamedTensor>& list, const std::string& prefix, const Entries& entries) {
  for (const auto& entry : entries) list.push_back({prefix + entry.name, *entry.tensor});
}

}  // namespace

std::vector<NamedTensor> Module::parameters() const {
  std::vector<NamedTensor> list;
  append(list, "", parameters_);
  for (const Child& child : children_) {
    for (const NamedTensor& inner : child.module->parameters())
      list.push_back({child.name + "." + inner.name, inner.tensor});
  }
  return list;
}

std::vector<NamedTensor> Module::buffers() const {
  std::vector<NamedTensor> list;
  append(list, "", buffers_);
  for (const Child& child : children_) {
    for (const NamedTensor& inner : child.module->buffers())
      list.push_back({child.name + "." + inner.name, inner.tensor});
  }
  return list;
}

std::vector<NamedTensor> Module::state() const {
  std::vector<NamedTensor> list = parameters();
  for (NamedTensor& buffer : buffers()) list.push_back(std::move(buffer));
  return list;
}

void Module::train(bool on) {
  training_ = on;
  for (const Child& child : children_) child.module->train(on);
}

void Module::convert(const std::function<Tensor(const Tensor&)>& conversion) {
  const auto replace = [&](Tensor& tensor) {
    const bool had_gradient = tensor.requires_grad();
    tensor = conversion(tensor).detach();
    tensor.set_requires_grad(had_gradient);
  };
  for (const Entry& entry : parameters_) replace(*entry.tensor);
  for (const Entry& entry : buffers_) replace(*entry.tensor);
  for (const Child& child : children_) child.module->convert(conversion);
}

void Module::to(DType dtype) {
  convert([dtype](const Tensor& tensor) { return is_floating(tensor.dtype()) ? tensor.to(dtype) : tensor; });
}

void Module::to(Device device) {
  convert([device](const Tensor& tensor) { return tensor.to(device); });
}

void Module::collect_parameters(std::vector<Tensor*>& list) {
  for (const Entry& entry : parameters_) list.push_back(entry.tensor);
  for (const Child& child : children_) child.module->collect_parameters(list);
}

void Module::substitute_parameters(const std::vector<Tensor>& tensors) {
  std::vector<Tensor*> own;
  collect_parameters(own);
  require(own.size() == tensors.size(), "a module of {} parameters was given {} tensors", own.size(),
          tensors.size());
  for (size_t i = 0; i < own.size(); ++i) {
    require(own[i]->shape() == tensors[i].shape(), "parameter {} has shape {}, its substitute {}", i,
            own[i]->shape(), tensors[i].shape());
    *own[i] = tensors[i];
  }
}

void Module::resize(const std::map<std::string, Shape>& shapes) {
  const size_t found = resize_tree("", shapes);
  require(found == shapes.size(), "of {} tensors to resize the module has {}", shapes.size(), found);
}

size_t Module::resize_tree(const std::string& prefix, const std::map<std::string, Shape>& shapes) {
  size_t found = 0;
  const auto replace = [&](const Entry& entry) {
    const auto wanted = shapes.find(prefix + entry.name);
    if (wanted == shapes.end()) return;
    Tensor& tensor = *entry.tensor;
    const bool had_gradient = tensor.requires_grad();
    tensor = Tensor::zeros(wanted->second, tensor.dtype(), tensor.device(), tensor.layout());
    tensor.set_requires_grad(had_gradient);
    ++found;
  };
  for (const Entry& entry : parameters_) replace(entry);
  for (const Entry& entry : buffers_) replace(entry);
  for (const Child& child : children_) found += child.module->resize_tree(prefix + child.name + ".", shapes);
  return found;
}

void Module::initialize(uint64_t seed) {
  PhiloxKey key{seed, initialisation_stream, 0};
  initialize_tree(key);
}

void Module::initialize_tree(PhiloxKey& key) {
  initialize_own(key);
  ++key.step;
  for (const Child& child : children_) child.module->initialize_tree(key);
}

void Module::register_parameter(std::string name, Tensor& tensor) {
  tensor.set_requires_grad(true);
  parameters_.push_back({std::move(name), &tensor});
}

void Module::register_buffer(std::string name, Tensor& tensor) {
  buffers_.push_back({std::move(name), &tensor});
}

void Module::register_module(std::string name, Module& child) {
  children_.push_back({std::move(name), &child});
}

void save_module(const Module& module, const std::filesystem::path& path,
                 const std::map<std::string, std::string>& metadata) {
  save_tensors(path, metadata, module.state());
}

void load_module(Module& module, const SafetensorsFile& file) {
  load_tensors(file, "", module.state());
}

}  // namespace dw
