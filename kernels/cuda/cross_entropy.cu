// Softmax cross entropy on CUDA: one warp per row, loss and gradient together. Floor: logits read (again
// from cache) and the gradient written, 2 · rows · classes · element size; a few classes leave it to launch
// latency.
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cuda/check.h"
#include "kernels/cuda/softmax_part.h"
#include "kernels/table.h"

namespace dw::cuda_backend {
namespace {

constexpr int warp_lanes = 32, warps_per_block = 8;

template <typename T>
struct Rows {
  T* data;
  int64_t row_stride, column_stride;
  __device__ T& at(int64_t row, int64_t column) const {
    return data[row * row_stride + column * column_stride];
  }
};

template <typename T, typename A>
__global__ void cross_entropy_kernel(int64_t rows, int64_t classes, Rows<const T> logits,
                                     Rows<const int64_t> labels, Rows<A> losses, Rows<T> gradient) {
  const int64_t row = int64_t{blockIdx.x} * warps_per_block + threadIdx.x / warp_lanes;
  const int lane = threadIdx.x % warp_lanes;
  if (row >= rows) return;

  constexpr unsigned all = 0xffffffffU;
  SoftmaxPart<A> part;
  for (int64_t i = lane; i < classes; i += warp_lanes) part.add(static_cast<A>(logits.at(row, i)));
  for (int half = warp_lanes / 2; half > 0; half /= 2) {
    SoftmaxPart<A> other;
    other.maximum = __shfl_down_sync(all, part.maximum, half);
    other.sum = __shfl_down_sync(all, part.sum, half);
    part.merge(other);
  }
  part.maximum = __shfl_sync(all, part.maximum, 0);
  part.sum = __shfl_sync(all, part.sum, 0);

  const int64_t label = labels.at(row, 0);
  const bool valid = label >= 0 && label < classes;
  const A nan = std::numeric_limits<A>::quiet_NaN();
  if (lane == 0) losses.at(row, 0) = valid ? part.loss(static_cast<A>(logits.at(row, label))) : nan;
  for (int64_t i = lane; i < classes; i += warp_lanes) {
    const A probability = part.probability(static_cast<A>(logits.at(row, i)));
    gradient.at(row, i) = static_cast<T>(valid ? probability - (i == label ? 1 : 0) : nan);
  }
}

template <typename T>
Rows<T> rows_of(const View& view) {
  return {static_cast<T*>(view.data), view.stride[0], view.rank > 1 ? view.stride[1] : 0};
}

void softmax_cross_entropy(Stream stream, const View& logits, const View& labels, const View& losses,
                           const View& logits_gradient) {
  const int64_t rows = logits.shape[0], classes = logits.shape[1];
  const DType loss_type = logits.dtype == DType::bf16 ? DType::f32 : logits.dtype;
  require(logits.rank == 2 && classes > 0 && labels.dtype == DType::i64 && labels.numel() == rows &&
              losses.dtype == loss_type && losses.numel() == rows && logits_gradient.dtype == logits.dtype &&
              logits_gradient.shape == logits.shape,
          "cross entropy expects logits [rows, classes], i64 labels [rows], {} losses [rows] and a gradient "
          "like the logits, found {} logits of rank {}, {} labels, {} {} losses",
          name_of(loss_type), name_of(logits.dtype), logits.rank, labels.numel(), losses.numel(),
          name_of(losses.dtype));
  if (rows == 0) return;
  dispatch_floating(logits.dtype, "cross entropy on CUDA", [&](auto zero) {
    using T = decltype(zero);
    using A = std::conditional_t<std::is_same_v<T, double>, double, float>;
    cudaLaunchConfig_t config{};
    config.gridDim = static_cast<unsigned>((rows + warps_per_block - 1) / warps_per_block);
    config.blockDim = warps_per_block * warp_lanes;
    config.stream = static_cast<cudaStream_t>(stream.handle);
    check_cuda(
        cudaLaunchKernelEx(&config, cross_entropy_kernel<T, A>, rows, classes, rows_of<const T>(logits),
                           rows_of<const int64_t>(labels), rows_of<A>(losses), rows_of<T>(logits_gradient)),
        "cross entropy kernel");
  });
}

}  // namespace

void add_cross_entropy(KernelTable& table) {
  table.softmax_cross_entropy = softmax_cross_entropy;
}

}  // namespace dw::cuda_backend
