// Values of many tensors between f32 and bf16 in one launch: a training step's weights and their gradients.
// Floor: 6 bytes an element.
#include "kernels/bodies/element.h"
#include "kernels/bodies/tensor_list.h"
#include "kernels/table.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

struct ConvertBody {
  HD void operator()(const Block& block, const ConvertedTensor& tensor, int64_t begin, int64_t count) const {
    if (tensor.to == DType::bf16)
      convert<bfloat16, float>(block, tensor, begin, count);
    else
      convert<float, bfloat16>(block, tensor, begin, count);
  }

 private:
  template <typename Out, typename In>
  HD static void convert(const Block& block, const ConvertedTensor& tensor, int64_t begin, int64_t count) {
    const In* in = static_cast<const In*>(tensor.in) + begin;
    Out* out = static_cast<Out*>(tensor.out) + begin;
    block.each(count, [=](int64_t i) { out[i] = store<Out>(load(in[i])); });
  }
};

void convert_all(Stream stream, std::span<const ConvertedTensor> tensors) {
  for (const ConvertedTensor& tensor : tensors)
    require((tensor.from == DType::f32 && tensor.to == DType::bf16) ||
                (tensor.from == DType::bf16 && tensor.to == DType::f32),
            "convert_all goes between f32 and bf16, found {} to {}", name_of(tensor.from),
            name_of(tensor.to));
  for_each_tensor(stream, tensors, ConvertBody{});
}

}  // namespace

void add_convert(KernelTable& table) {
  table.convert_all = convert_all;
}

}  // namespace dw::DEEPWATER_BACKEND
