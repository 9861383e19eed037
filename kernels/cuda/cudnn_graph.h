// Thin RAII over cuDNN's backend graph API (cudnnBackend*): descriptors and typed attributes. The classic
// convolution calls are deprecated since cuDNN 9, and cudnn-frontend is a large header-only dependency.
#pragma once

#include <cudnn.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dw::cuda_backend {

/// The attribute type that cuDNN expects for values of a C++ type.
template <typename T>
inline constexpr cudnnBackendAttributeType_t attribute_type = [] {
  if constexpr (std::same_as<T, int64_t>)
    return CUDNN_TYPE_INT64;
  else if constexpr (std::same_as<T, int32_t>)
    return CUDNN_TYPE_INT32;
  else if constexpr (std::same_as<T, float>)
    return CUDNN_TYPE_FLOAT;
  else if constexpr (std::same_as<T, double>)
    return CUDNN_TYPE_DOUBLE;
  else if constexpr (std::same_as<T, char>)
    return CUDNN_TYPE_CHAR;
  else if constexpr (std::same_as<T, cudnnHandle_t>)
    return CUDNN_TYPE_HANDLE;
  else if constexpr (std::same_as<T, cudnnDataType_t>)
    return CUDNN_TYPE_DATA_TYPE;
  else if constexpr (std::same_as<T, cudnnConvolutionMode_t>)
    return CUDNN_TYPE_CONVOLUTION_MODE;
  else if constexpr (std::same_as<T, cudnnBackendHeurMode_t>)
    return CUDNN_TYPE_HEUR_MODE;
  else if constexpr (std::same_as<T, cudnnBackendNumericalNote_t>)
    return CUDNN_TYPE_NUMERICAL_NOTE;
}();

/// Owns one backend descriptor. Set its attributes, then finalize it; others refer to it while it lives.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  Descriptor(Descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Descriptor();

  cudnnBackendDescriptor_t get() const { return handle_; }

  template <typename T>
  void set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    set_raw(name, attribute_type<T>, static_cast<int64_t>(values.size()), values.data());
  }
  template <typename T>
  void set(cudnnBackendAttributeName_t name, T value) {
    set(name, std::span<const T>(&value, 1));
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.handle_);
  }
  void set_pointers(cudnnBackendAttributeName_t name, std::span<void* const> values) {
    set_raw(name, CUDNN_TYPE_VOID_PTR, static_cast<int64_t>(values.size()), values.data());
  }

  /// Errors: Error with cuDNN's own explanation.
  void finalize();
  /// False where cuDNN cannot build what is described; last_cudnn_error() says why.
  bool try_finalize();

  /// The values of an attribute, at most `capacity` of them.
  template <typename T>
  std::vector<T> get(cudnnBackendAttributeName_t name, int64_t capacity) const {
    std::vector<T> values(static_cast<size_t>(capacity));
    values.resize(static_cast<size_t>(get_raw(name, attribute_type<T>, capacity, values.data())));
    return values;
  }
  /// The descriptors of type `type` that an attribute holds, at most `capacity`.
  std::vector<Descriptor> get_descriptors(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                                          int64_t capacity) const;

 private:
  void set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
               const void* values);
  int64_t get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t capacity,
                  void* values) const;

  cudnnBackendDescriptor_t handle_ = nullptr;
};

/// Describes the GPU that plans are built for, from cuDNN's JSON form: no GPU or driver is needed.
Descriptor device_properties(std::string_view json);

/// A finalized tensor descriptor. `alignment` of its data in bytes.
Descriptor tensor_descriptor(int64_t id, cudnnDataType_t type, std::span<const int64_t> shape,
                             std::span<const int64_t> strides, int64_t alignment);

}  // namespace dw::cuda_backend
