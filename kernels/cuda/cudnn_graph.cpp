// Descriptors of cuDNN's backend graph API.
#include "kernels/cuda/cudnn_graph.h"

#include <fmt/format.h>

#include "kernels/cuda/check.h"

namespace dw::cuda_backend {
Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  check_cudnn(cudnnBackendCreateDescriptor(type, &handle_), "cudnnBackendCreateDescriptor");
}

Descriptor::~Descriptor() {
  if (handle_) cudnnBackendDestroyDescriptor(handle_);
}

void Descriptor::finalize() {
  check_cudnn(cudnnBackendFinalize(handle_), "cudnnBackendFinalize");
}

bool Descriptor::try_finalize() {
  return cudnnBackendFinalize(handle_) == CUDNN_STATUS_SUCCESS;
}

std::vector<Descriptor> Descriptor::get_descriptors(cudnnBackendAttributeName_t name,
                                                    cudnnBackendDescriptorType_t type,
                                                    int64_t capacity) const {
  std::vector<Descriptor> results;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < capacity; ++i) handles.push_back(results.emplace_back(type).get());
  const int64_t count = get_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, capacity, handles.data());
  results.erase(results.begin() + count, results.end());
  return results;
}

void Descriptor::set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                         const void* values) {
  const cudnnStatus_t status = cudnnBackendSetAttribute(handle_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, fmt::format("cudnnBackendSetAttribute({})", static_cast<int>(name)));
}

int64_t Descriptor::get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                            int64_t capacity, void* values) const {
  int64_t count = 0;
  const cudnnStatus_t status = cudnnBackendGetAttribute(handle_, name, type, capacity, &count, values);
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, fmt::format("cudnnBackendGetAttribute({})", static_cast<int>(name)));
  return count < capacity ? count : capacity;
}

Descriptor device_properties(std::string_view json) {
  Descriptor properties(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  properties.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<const char>(json.data(), json.size()));
  properties.finalize();
  return properties;
}

Descriptor tensor_descriptor(int64_t id, cudnnDataType_t type, std::span<const int64_t> shape,
                             std::span<const int64_t> strides, int64_t alignment) {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, shape);
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  tensor.finalize();
  return tensor;
}

}  // namespace dw::cuda_backend
