// Every pointer of the kernel table behind one that times it.
#include "kernels/profiled_table.h"

#include <string_view>
#include <tuple>

#include "kernels/kernel_cost.h"
#include "kernels/profile.h"

namespace dw {
namespace {

/// What a call is queued on: its stream, or for what the host does itself, none.
template <typename First>
Stream stream_of(const First& first) {
  if constexpr (std::is_same_v<First, Stream>) return first;
  return {};
}

/// Its pointer has the type of a kernel's and does what that kernel does.
template <DeviceType type, auto pointer, typename Signature>
struct Timed;
template <DeviceType type, auto pointer, typename Result, typename... Arguments>
struct Timed<type, pointer, Result (*KernelTable::*)(Arguments...)> {
  static inline std::string_view name;
  static Result call(Arguments... arguments) {
    return profiled(
        stream_of(std::get<0>(std::tie(arguments...))), name,
        [&] { return cost_of(Kernel<pointer>{}, arguments...); },
        [&] {
          return (plain_kernels({type, 0}).*pointer)(arguments...);
        });
  }
};

template <DeviceType type>
class Wrapping {
 public:
  template <auto pointer>
  void wrap(std::string_view name) {
    using Wrapper = Timed<type, pointer, decltype(pointer)>;
    Wrapper::name = name;
    table.*pointer = &Wrapper::call;
  }

  KernelTable table{};
};

template <DeviceType type>
KernelTable make_table() {
  using Table = KernelTable;
  Wrapping<type> all;
  all.template wrap<&Table::raw_allocate>("raw_allocate");
  all.template wrap<&Table::raw_release>("raw_release");
  all.template wrap<&Table::copy_from_host>("copy_from_host");
  all.template wrap<&Table::copy_to_host>("copy_to_host");
  all.template wrap<&Table::copy_on_device>("copy_on_device");
  all.template wrap<&Table::synchronize>("synchronize");
  all.template wrap<&Table::fill>("fill");
  all.template wrap<&Table::copy>("copy");
  all.template wrap<&Table::unary>("unary");
  all.template wrap<&Table::binary>("binary");
  all.template wrap<&Table::select>("select");
  all.template wrap<&Table::axpy>("axpy");
  all.template wrap<&Table::reduce>("reduce");
  all.template wrap<&Table::argmax>("argmax");
  all.template wrap<&Table::add_score>("add_score");
  all.template wrap<&Table::all_finite>("all_finite");
  all.template wrap<&Table::gather_rows>("gather_rows");
  all.template wrap<&Table::scatter_add_rows>("scatter_add_rows");
  all.template wrap<&Table::uniform>("uniform");
  all.template wrap<&Table::normal>("normal");
  all.template wrap<&Table::bernoulli>("bernoulli");
  all.template wrap<&Table::sgd>("sgd");
  all.template wrap<&Table::adam>("adam");
  all.template wrap<&Table::convert_all>("convert_all");
  all.template wrap<&Table::max_pool>("max_pool");
  all.template wrap<&Table::max_pool_backward>("max_pool_backward");
  all.template wrap<&Table::average_pool>("average_pool");
  all.template wrap<&Table::average_pool_backward>("average_pool_backward");
  all.template wrap<&Table::batch_norm_training>("batch_norm_training");
  all.template wrap<&Table::batch_norm_inference>("batch_norm_inference");
  all.template wrap<&Table::batch_norm_backward>("batch_norm_backward");
  all.template wrap<&Table::softmax_cross_entropy>("softmax_cross_entropy");
  all.template wrap<&Table::conv_forward>("conv_forward");
  all.template wrap<&Table::conv_backward_data>("conv_backward_data");
  all.template wrap<&Table::conv_backward_weight>("conv_backward_weight");
  all.template wrap<&Table::conv_max_pool>("conv_max_pool");
  all.template wrap<&Table::matmul>("matmul");
  return all.table;
}

}  // namespace

const KernelTable& profiled_kernels(DeviceType type) {
  static const KernelTable on_cpu = make_table<DeviceType::cpu>();
  static const KernelTable on_cuda = make_table<DeviceType::cuda>();
  return type == DeviceType::cpu ? on_cpu : on_cuda;
}

}  // namespace dw
