#include "core/ops.h"
#include "core/tape.h"
#include "core/tensor_impl.h"

namespace dw {
namespace {

// A matrix (or batch of them) as BLAS takes it: dense rows, possibly transposed in memory.
struct MatrixOperand {
  Tensor tensor;
  bool transposed;
};

MatrixOperand operand(const Tensor& tensor) {
  if (tensor.is_dense()) return {tensor, false};
  const Tensor flipped = tensor.transpose(-1, -2);
  if (flipped.is_dense()) return {flipped, true};
  return {tensor.contiguous(), false};
}

Tensor run_matmul(const Tensor& a, const Tensor& b) {
  const bool batched = a.rank() == 3;
  require(a.rank() == b.rank() && (a.rank() == 2 || batched) && a.size(-1) == b.size(-2) &&
              (!batched || a.size(0) == b.size(0)) && a.dtype() == b.dtype() && a.device() == b.device(),
          "matmul expects [m,k]·[k,n] or [b,m,k]·[b,k,n] of one dtype and device, found {} {} and {} {}",
          name_of(a.dtype()), a.shape(), name_of(b.dtype()), b.shape());
  const MatrixOperand left = operand(a), right = operand(b);
  MatmulShape shape;
  shape.m = a.size(-2);
  shape.n = b.size(-1);
  shape.k = a.size(-1);
  shape.transpose_a = left.transposed;
  shape.transpose_b = right.transposed;
  shape.batch = batched ? a.size(0) : 1;
  shape.stride_a = shape.m * shape.k;
  shape.stride_b = shape.k * shape.n;
  shape.stride_c = shape.m * shape.n;
  shape.dtype = a.dtype();
  const Shape result = batched ? Shape{shape.batch, shape.m, shape.n} : Shape{shape.m, shape.n};
  if (shape.k == 0) return Tensor::zeros(result, a.dtype(), a.device());
  Tensor out = Tensor::empty(result, a.dtype(), a.device());
  if (out.numel() == 0) return out;
  kernels(a.device())
      .matmul(current_stream(a.device()), shape, left.tensor.raw_data(), right.tensor.raw_data(),
              out.raw_data());
  return out;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  Tensor out;
  {
    const NoGrad pause;
    out = run_matmul(a, b);
  }
  Tape::record("matmul", {a, b}, out, [a, b](const Tensor& gradient, const Needed& needed) {
    Gradients result(2);
    if (needed[0]) result[0] = run_matmul(gradient, b.transpose(-1, -2));
    if (needed[1]) result[1] = run_matmul(a.transpose(-1, -2), gradient);
    return result;
  });
  return out;
}

Tensor linear(const Tensor& input, const Tensor& weight, const Tensor& bias) {
  require(input.rank() == 2 && weight.rank() == 2 && input.size(1) == weight.size(1),
          "linear expects input [n, i] and weight [o, i], found {} and {}", input.shape(), weight.shape());
  const Tensor product = matmul(input, weight.transpose(0, 1));
  return bias.defined() ? product + bias.to(product.dtype()) : product;
}

Tensor gather_rows(const Tensor& a, const Tensor& index) {
  require(a.rank() >= 1 && index.rank() == 1 && index.dtype() == DType::i64,
          "gather_rows expects a tensor and i64 indices of rank 1, found {} and {} {}", a.shape(),
          name_of(index.dtype()), index.shape());
  const int64_t rows = a.size(0), count = index.size(0);
  require(rows > 0 || count == 0, "gather_rows of {} rows from an empty tensor", count);
  const int64_t columns = rows == 0 ? 0 : a.numel() / rows;
  Shape shape = a.shape();
  shape[0] = count;
  Tensor out = Tensor::empty(shape, a.dtype(), a.device());
  {
    const NoGrad pause;
    kernels(a.device())
        .gather_rows(current_stream(a.device()), a.contiguous().reshape({rows, columns}).view(), index.view(),
                     out.reshape({count, columns}).view());
  }
  Tape::record("gather_rows", {a}, out,
               [index, rows, columns, count, from = a.shape()](const Tensor& gradient, const Needed&) {
                 Tensor sums = Tensor::zeros({rows, columns}, gradient.dtype(), gradient.device());
                 kernels(sums.device())
                     .scatter_add_rows(current_stream(sums.device()),
                                       gradient.contiguous().reshape({count, columns}).view(), index.view(),
                                       sums.view());
                 return Gradients{sums.reshape(from)};
               });
  return out;
}

Tensor concatenate(const std::vector<Tensor>& parts, int dimension) {
  require(!parts.empty(), "concatenate expects at least one tensor, found none");
  const size_t d = checked_dimension(parts[0].shape(), dimension);
  Shape shape = parts[0].shape();
  shape[d] = 0;
  for (const Tensor& part : parts) {
    Shape other = part.shape();
    require(other.size() == shape.size() && part.dtype() == parts[0].dtype(),
            "concatenate expects tensors alike but for dimension {}, found {} and {}", d, parts[0].shape(),
            other);
    shape[d] += other[d];
    other[d] = parts[0].shape()[d];
    require(other == parts[0].shape(),
            "concatenate expects tensors alike but for dimension {}, found {} and {}", d, parts[0].shape(),
            part.shape());
  }
  Tensor out = Tensor::empty(shape, parts[0].dtype(), parts[0].device());
  std::vector<int64_t> starts{0};
  {
    const NoGrad pause;
    for (const Tensor& part : parts) {
      out.slice(dimension, starts.back(), starts.back() + part.shape()[d]).copy_from(part);
      starts.push_back(starts.back() + part.shape()[d]);
    }
  }
  Tape::record("concatenate", parts, out, [starts, dimension](const Tensor& gradient, const Needed&) {
    Gradients result;
    for (size_t i = 0; i + 1 < starts.size(); ++i)
      result.push_back(gradient.slice(dimension, starts[i], starts[i + 1]));
    return result;
  });
  return out;
}

}  // namespace dw
