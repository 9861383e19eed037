// Batch normalisation on CUDA: launches of the bodies in batch_norm_body.h. Floor, in times rows · channels
// · element size, each matrix once: forward 2, an addend 2 more (1 where its sum is not wanted), a residual
// 1; backward 3, with a residual 5, adding to a gradient 1 more. Memory binds; what is read twice (training:
// the input; backward: all that is read) may come from the L2 cache the second time, else it is 3 and 5, with
// a residual 7.
#include "kernels/cuda/batch_norm_body.h"
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
}

template <typename T, int width, bool adds>
SummedInput<T, width, adds> input_of(const BatchNormForward& memory) {
  return {static_cast<const T*>(memory.in), static_cast<const T*>(memory.addend),
          static_cast<T*>(memory.sum)};
}

/// The last pass of training, the only one of inference.
template <typename T, int width, bool adds>
void normalise(Stream stream, const RowTiles& tiles, const SummedInput<T, width, adds>& input,
               const Normalisation<ParameterOf<T>>& by, bool relu, const BatchNormForward& memory) {
  with_flag(memory.residual != nullptr, [&](auto has_residual) {
    launch(stream, tiles.blocks(),
           NormaliseBody<T, width, adds, has_residual>{
               tiles, input, by, static_cast<const T*>(memory.residual), relu, static_cast<T*>(memory.out)});
  });
}

void batch_norm_training(Stream stream, const BatchNormShape& shape, const BatchNormForward& memory) {
  if (shape.channels == 0) return;
  dispatch(shape, {memory.in, memory.addend, memory.sum, memory.residual, memory.out},
           [&](auto zero, auto width) {
             using T = decltype(zero);
             using A = ParameterOf<T>;
             const RowTiles tiles = row_tiles(shape.rows, shape.channels, width);
             const Buffer partial(stream.device, sizeof(Moments<A>) * tiles.chunks * shape.channels);
             auto* moments = static_cast<Moments<A>*>(partial.data());
             auto* mean = static_cast<A*>(memory.saved_mean);
             auto* inverse_deviation = static_cast<A*>(memory.saved_inverse_deviation);
             with_flag(memory.addend != nullptr, [&](auto adds) {
               launch(stream, tiles.blocks(),
                      MomentsBody<T, width, adds>{tiles, input_of<T, width, adds>(memory), moments});
             });
             launch(stream, finish_blocks(shape.channels),
                    FinishMomentsBody<A>{tiles, moments, static_cast<A>(shape.epsilon),
                                         static_cast<A>(shape.momentum), mean, inverse_deviation,
                                         static_cast<A*>(memory.running_mean),
                                         static_cast<A*>(memory.running_variance)});
             const void* summed = memory.addend != nullptr ? memory.sum : memory.in;
             normalise(stream, tiles,
                       SummedInput<T, width, false>{static_cast<const T*>(summed), nullptr, nullptr},
                       {mean, inverse_deviation, nullptr, static_cast<const A*>(memory.weight),
                        static_cast<const A*>(memory.bias), A{0}},
                       shape.relu, memory);
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
    const Normalisation<A> by{static_cast<const A*>(memory.running_mean),
                              nullptr,
                              static_cast<const A*>(memory.running_variance),
                              static_cast<const A*>(memory.weight),
                              static_cast<const A*>(memory.bias),
                              static_cast<A>(shape.epsilon)};
    with_flag(memory.addend != nullptr, [&](auto adds) {
      normalise(stream, tiles, input_of<T, width, adds>(memory), by, shape.relu, memory);
    });
  });
}

void batch_norm_backward(Stream stream, const BatchNormShape& shape, const BatchNormBackward& memory) {
  if (shape.channels == 0) return;
  const bool by_output = memory.residual_gradient != nullptr;
  const Gate gate = by_output ? Gate::by_output : shape.relu ? Gate::by_input : Gate::open;
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
             auto* passed = static_cast<T*>(memory.residual_gradient);
             const auto input = [&]<Gate by>(std::integral_constant<Gate, by>, const void* out_gradient) {
               return GradientInput<T, width, by>{static_cast<const T*>(out_gradient),
                                                  static_cast<const T*>(memory.in),
                                                  static_cast<const T*>(memory.out),
                                                  static_cast<const A*>(memory.saved_mean),
                                                  inverse_deviation,
                                                  static_cast<const A*>(memory.weight),
                                                  static_cast<const A*>(memory.bias)};
             };
             with_gate(gate, [&](auto by) {
               launch(stream, tiles.blocks(),
                      GradientSumsBody<T, width, by>{tiles, input(by, memory.out_gradient), passed, sums});
             });
             launch(stream, finish_blocks(shape.channels),
                    FinishGradientBody<A>{tiles, sums, inverse_deviation, weight_gradient, bias_gradient});
             // What passed the output's gate needs no other.
             with_flag(gate == Gate::by_input, [&](auto gated) {
               constexpr auto by = std::integral_constant < Gate, gated ? Gate::by_input : Gate::open > {};
               with_flag(memory.in_gradient_so_far != nullptr, [&](auto adds) {
                 launch(stream, tiles.blocks(),
                        InGradientBody<T, width, by, adds>{
                            tiles, input(by, by_output ? passed : memory.out_gradient), weight_gradient,
                            bias_gradient, static_cast<const T*>(memory.in_gradient_so_far),
                            static_cast<T*>(memory.in_gradient)});
               });
             });
           });
}

}  // namespace

void add_batch_norm(KernelTable& table) {
  table.batch_norm_training = batch_norm_training;
  table.batch_norm_inference = batch_norm_inference;
  table.batch_norm_backward = batch_norm_backward;
}

}  // namespace dw::cuda_backend
