// Batch normalisation on CUDA: launches of the bodies in batch_norm_body.h. Bound by memory; the floor, in
// times rows · channels · element size: training 3 (input twice, output once), inference 2, backward 5, with
// ReLU 7 (out_gradient, input and output twice, in_gradient once). Second reads may come from the L2 cache.
#include "kernels/cuda/batch_norm_body.h"
#include "kernels/cuda/check.h"
#include "kernels/table.h"

namespace dw::cuda_backend {
namespace {

/// Calls body(T{}, width) with the widest pack, up to 16 bytes, that channels and addresses allow.
template <typename Body>
void dispatch(const BatchNormShape& shape, std::initializer_list<const void*> addresses, const Body& body) {
  dispatch_floating(shape.dtype, "batch norm on CUDA", [&](auto zero) {
    using T = decltype(zero);
    constexpr int widest = 16 / sizeof(T);
    bool wide = shape.channels % widest == 0;
    for (const void* address : addresses) wide = wide && reinterpret_cast<uintptr_t>(address) % 16 == 0;
    if (wide)
      body(zero, std::integral_constant<int, widest>{});
    else
      body(zero, std::integral_constant<int, 1>{});
  });
}

template <typename Body>
void launch(Stream stream, int64_t blocks, const Body& body) {
  for_each_block<typename Body::Shared>(stream, blocks, body);
  check_cuda(cudaGetLastError(), "batch norm kernel");
}

void batch_norm_training(Stream stream, const BatchNormShape& shape, const void* in, const void* weight,
                         const void* bias, void* running_mean, void* running_variance, void* out,
                         void* saved_mean, void* saved_inverse_deviation) {
  if (shape.channels == 0) return;
  dispatch(shape, {in, out}, [&](auto zero, auto width) {
    using T = decltype(zero);
    using A = ParameterOf<T>;
    const RowTiles tiles = row_tiles(shape.rows, shape.channels, width);
    const Buffer partial(stream.device, sizeof(Moments<A>) * tiles.chunks * shape.channels);
    auto* moments = static_cast<Moments<A>*>(partial.data());
    auto* mean = static_cast<A*>(saved_mean);
    auto* inverse_deviation = static_cast<A*>(saved_inverse_deviation);
    launch(stream, tiles.blocks(), MomentsBody<T, width>{tiles, static_cast<const T*>(in), moments});
    launch(stream, finish_blocks(shape.channels),
           FinishMomentsBody<A>{tiles, moments, static_cast<A>(shape.epsilon), static_cast<A>(shape.momentum),
                                mean, inverse_deviation, static_cast<A*>(running_mean),
                                static_cast<A*>(running_variance)});
    launch(stream, tiles.blocks(),
           NormaliseBody<T, width>{tiles, static_cast<const T*>(in), mean, inverse_deviation, nullptr,
                                   static_cast<const A*>(weight), static_cast<const A*>(bias), A{0},
                                   shape.relu, static_cast<T*>(out)});
  });
}

void batch_norm_inference(Stream stream, const BatchNormShape& shape, const void* in, const void* weight,
                          const void* bias, const void* running_mean, const void* running_variance,
                          void* out) {
  if (shape.rows == 0 || shape.channels == 0) return;
  dispatch(shape, {in, out}, [&](auto zero, auto width) {
    using T = decltype(zero);
    using A = ParameterOf<T>;
    const RowTiles tiles = row_tiles(shape.rows, shape.channels, width);
    launch(stream, tiles.blocks(),
           NormaliseBody<T, width>{tiles, static_cast<const T*>(in), static_cast<const A*>(running_mean),
                                   nullptr, static_cast<const A*>(running_variance),
                                   static_cast<const A*>(weight), static_cast<const A*>(bias),
                                   static_cast<A>(shape.epsilon), shape.relu, static_cast<T*>(out)});
  });
}

void batch_norm_backward(Stream stream, const BatchNormShape& shape, const void* out_gradient, const void* in,
                         const void* out, const void* weight, const void* saved_mean,
                         const void* saved_inverse_deviation, void* in_gradient, void* weight_gradient,
                         void* bias_gradient) {
  if (shape.channels == 0) return;
  dispatch(shape, {out_gradient, in, shape.relu ? out : nullptr, in_gradient}, [&](auto zero, auto width) {
    using T = decltype(zero);
    using A = ParameterOf<T>;
    const RowTiles tiles = row_tiles(shape.rows, shape.channels, width);
    const Buffer partial(stream.device, sizeof(SumPair<A>) * tiles.chunks * shape.channels);
    auto* sums = static_cast<SumPair<A>*>(partial.data());
    const auto* inverse_deviation = static_cast<const A*>(saved_inverse_deviation);
    const GradientInput<T, width> input{static_cast<const T*>(out_gradient), static_cast<const T*>(in),
                                        static_cast<const T*>(out), static_cast<const A*>(saved_mean),
                                        shape.relu};
    launch(stream, tiles.blocks(), GradientSumsBody<T, width>{tiles, input, sums});
    launch(stream, finish_blocks(shape.channels),
           FinishGradientBody<A>{tiles, sums, inverse_deviation, static_cast<A*>(weight_gradient),
                                 static_cast<A*>(bias_gradient)});
    launch(stream, tiles.blocks(),
           InGradientBody<T, width>{tiles, input, inverse_deviation, static_cast<const A*>(weight),
                                    static_cast<const A*>(weight_gradient),
                                    static_cast<const A*>(bias_gradient), static_cast<T*>(in_gradient)});
  });
}

}  // namespace

void add_batch_norm(KernelTable& table) {
  table.batch_norm_training = batch_norm_training;
  table.batch_norm_inference = batch_norm_inference;
  table.batch_norm_backward = batch_norm_backward;
}

}  // namespace dw::cuda_backend
