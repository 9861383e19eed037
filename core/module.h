// Module: a layer or network, a tree of parameters and buffers with dotted names.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/tensor_file.h"

namespace dw {

/// Base of layers and networks. A derived class holds its tensors and children as members and registers them
/// in its constructor; modules therefore neither copy nor move.
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  virtual Tensor forward(const Tensor& input) = 0;
  Tensor operator()(const Tensor& input) { return forward(input); }

  /// In registration order, which is the order of the forward pass.
  std::vector<NamedTensor> parameters() const;
  std::vector<NamedTensor> buffers() const;
  /// Parameters, then buffers.
  std::vector<NamedTensor> state() const;

  /// Training mode (the default) or evaluation mode, here and in all children.
  void train(bool on = true);
  bool training() const { return training_; }

  /// Converts every floating parameter and buffer, or moves everything.
  void to(DType dtype);
  void to(Device device);

  /// Uses these tensors, one for each of parameters() and shaped like them, in place of its own: a module as
  /// a function of its parameters.
  void substitute_parameters(const std::vector<Tensor>& tensors);

  /// Gives the parameters and buffers of these names other sizes, filled with zeros: a network with more
  /// channels than its kind. Error for a name it does not have.
  void resize(const std::map<std::string, Shape>& shapes);

  /// Gives every parameter its starting value. Same seed, same bits, on every device.
  void initialize(uint64_t seed);

 protected:
  /// `tensor` is a member of the derived class.
  void register_parameter(std::string name, Tensor& tensor);
  void register_buffer(std::string name, Tensor& tensor);
  void register_module(std::string name, Module& child);
  /// Starting values of this module's own parameters; no other module draws from `key`.
  virtual void initialize_own(const PhiloxKey&) {}

 private:
  void convert(const std::function<Tensor(const Tensor&)>& conversion);
  void initialize_tree(PhiloxKey& key);
  void collect_parameters(std::vector<Tensor*>& list);
  size_t resize_tree(const std::string& prefix, const std::map<std::string, Shape>& shapes);

  struct Entry {
    std::string name;
    Tensor* tensor;
  };
  struct Child {
    std::string name;
    Module* module;
  };
  std::vector<Entry> parameters_;
  std::vector<Entry> buffers_;
  std::vector<Child> children_;
  bool training_ = true;
};

/// Writes parameters and buffers as safetensors with PyTorch's names, shapes and memory order (OIHW),
/// atomically.
void save_module(const Module& module, const std::filesystem::path& path,
                 const std::map<std::string, std::string>& metadata);

/// Reads them back. Error naming every tensor that is missing, unexpected or of another shape; nothing is
/// changed then.
void load_module(Module& module, const SafetensorsFile& file);

}  // namespace dw
