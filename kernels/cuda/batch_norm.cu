// Batch normalisation on CUDA: launches of the bodies in batch_norm_body.h. Floor, in times rows · channels
// · element size, each matrix once: forward 2, an addend 2 more (1 where its sum is not wanted), a residual
// 1; backward 3, with a residual 5, adding to a gradient 1 more. Memory binds; what is read twice (training:
// the input; backward: all that is read) may come from the L2 cache the second time, else it is 3 and 5, with
// a residual 7.
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

template <typename T, int width>
SummedInput<T, width> input_of(const BatchNormForward& memory) {
  return {static_cast<const T*>(memory.in), static_cast<const T*>(memory.addend),
          static_cast<T*>(memory.sum)};
}

void batch_norm_training(Stream stream, const BatchNormShape& shape, const BatchNormForward& memory) {
  if (shape.channels == 0) return;
  dispatch(shape, {memory.in, memory.addend, memory.sum, memory.residual, memory.out},
           [&](auto zero, auto width) {
             using T = decltype(zero);
             using A = ParameterOf<T>;
             const SummedInput<T, width> input = input_of<T, width>(memory);
             const SummedInput<T, width> normalised{input.addend != nullptr ? input.sum : input.in, nullptr,
                                                    nullptr};
             const RowTiles tiles = row_tiles(shape.rows, shape.channels, width);
             const Buffer partial(stream.device, sizeof(Moments<A>) * tiles.chunks * shape.channels);
             auto* moments = static_cast<Moments<A>*>(partial.data());
             auto* mean = static_cast<A*>(memory.saved_mean);
             auto* inverse_deviation = static_cast<A*>(memory.saved_inverse_deviation);
             launch(stream, tiles.blocks(), MomentsBody<T, width>{tiles, input, moments});
             launch(stream, finish_blocks(shape.channels),
                    FinishMomentsBody<A>{tiles, moments, static_cast<A>(shape.epsilon),
                                         static_cast<A>(shape.momentum), mean, inverse_deviation,
                                         static_cast<A*>(memory.running_mean),
                                         static_cast<A*>(memory.running_variance)});
             launch(stream, tiles.blocks(),
                    NormaliseBody<T, width>{
                        tiles, normalised, mean, inverse_deviation, nullptr,
                        static_cast<const A*>(memory.weight), static_cast<const A*>(memory.bias), A{0},
                        static_cast<const T*>(memory.residual), shape.relu, static_cast<T*>(memory.out)});
           });
}

void batch_norm_inference(Stream stream, const BatchNormShape& shape, const BatchNormForward& memory) {
  if (shape.rows == 0 || shape.channels == 0) return;
  const std::initializer_list<const void*> matrices{memory.in, memory.addend, memory.sum, memory.residual,
                                                    memory.out};
  dispatch(shape, matrices, [&](auto zero, auto width) {
    using T = decltype(zero);
    using A = ParameterOf<T>;
    const RowTiles tiles = row_tiles(shape.rows, shape.channels, width);
    launch(stream, tiles.blocks(),
           NormaliseBody<T, width>{
               tiles, input_of<T, width>(memory), static_cast<const A*>(memory.running_mean), nullptr,
               static_cast<const A*>(memory.running_variance), static_cast<const A*>(memory.weight),
               static_cast<const A*>(memory.bias), static_cast<A>(shape.epsilon),
               static_cast<const T*>(memory.residual), shape.relu, static_cast<T*>(memory.out)});
  });
}

void batch_norm_backward(Stream stream, const BatchNormShape& shape, const BatchNormBackward& memory) {
  if (shape.channels == 0) return;
  const bool by_output = memory.residual_gradient != nullptr;
  const void* read_out = by_output ? memory.out : nullptr;
  dispatch(shape,
           {memory.out_gradient, memory.in, read_out, memory.residual_gradient, memory.in_gradient_so_far,
            memory.in_gradient},
           [&](auto zero, auto width) {
             using T = decltype(zero);
             using A = ParameterOf<T>;
             const RowTiles tiles = row_tiles(shape.rows, shape.channels, width);
             const Buffer partial(stream.device, sizeof(SumPair<A>) * tiles.chunks * shape.channels);
             auto* sums = static_cast<SumPair<A>*>(partial.data());
             const auto* inverse_deviation = static_cast<const A*>(memory.saved_inverse_deviation);
             auto* weight_gradient = static_cast<A*>(memory.weight_gradient);
             auto* bias_gradient = static_cast<A*>(memory.bias_gradient);
             GradientInput<T, width> input{static_cast<const T*>(memory.out_gradient),
                                           static_cast<const T*>(memory.in),
                                           static_cast<const T*>(memory.out),
                                           static_cast<const A*>(memory.saved_mean),
                                           inverse_deviation,
                                           static_cast<const A*>(memory.weight),
                                           static_cast<const A*>(memory.bias),
                                           by_output    ? Gate::by_output
                                           : shape.relu ? Gate::by_input
                                                        : Gate::open};
             auto* passed = static_cast<T*>(memory.residual_gradient);
             launch(stream, tiles.blocks(), GradientSumsBody<T, width>{tiles, input, passed, sums});
             launch(stream, finish_blocks(shape.channels),
                    FinishGradientBody<A>{tiles, sums, inverse_deviation, weight_gradient, bias_gradient});
             if (by_output) {
               input.out_gradient = passed;
               input.gate = Gate::open;
             }
             launch(stream, tiles.blocks(),
                    InGradientBody<T, width>{tiles, input, weight_gradient, bias_gradient,
                                             static_cast<const T*>(memory.in_gradient_so_far),
                                             static_cast<T*>(memory.in_gradient)});
           });
}

}  // namespace

void add_batch_norm(KernelTable& table) {
  table.batch_norm_training = batch_norm_training;
  table.batch_norm_inference = batch_norm_inference;
  table.batch_norm_backward = batch_norm_backward;
}

}  // namespace dw::cuda_backend
