// SPDX-License-Identifier: Apache-2.0
#include <cuda_fp8.h>

#include "kernels/cuda/activation.h"
#include "kernels/cuda/activation_scale.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rounding.cuh"

namespace torchao_cpp::cuda {
namespace {

using Kind = ActivationQuant::Kind;

constexpr int kThreads = kActivationThreads;
constexpr float kMaxNVFP4Scale = 448.0f;

/// One row of x as the linear sees it: times act_pre_scale, in the compute dtype.
struct Row {
  const ActivationPlan& plan;
  const void* x;
  std::int64_t first;

  __device__ float operator[](std::int64_t k) const {
    float v = load_value(plan.x_dtype, x, first + k);
    if (plan.pre_scale != nullptr) {
      v = round_value(plan.pre_scaled_dtype,
                      v * load_value(plan.pre_scale_dtype, plan.pre_scale, k));
    }
    return round_value(plan.compute, v);
  }
};

// Zero takes part in every choice of a range.
__device__ Ends ends_of_row(const ActivationPlan& plan, const Row& row) {
  Ends e;
  for (std::int64_t k = threadIdx.x; k < plan.columns; k += kThreads) {
    const float v = row[k];
    e = joined(e, {v, v});
  }
  return ends_of_block(e);
}

/// The nearest value of a narrow format, ties to even, clamped to its largest.
__device__ float round_to_element(const ElementFormat& f, float v) {
  if (v != v) return v;
  const float magnitude = fminf(fabsf(v), f.max_value);
  const int exponent =
      max(static_cast<int>(__float_as_uint(magnitude) >> 23) - 127, f.min_exponent);
  const float steps =
      __uint_as_float(static_cast<unsigned>(127 + f.mantissa_bits - exponent) << 23);
  const float step = __uint_as_float(static_cast<unsigned>(127 - f.mantissa_bits + exponent) << 23);
  return copysignf(rintf(magnitude * steps) * step, v);
}

__device__ std::uint8_t rceil_exponent(float descale) {
  if (descale != descale) return 255;
  if (isinf(descale)) return 254;
  if (descale == 0.0f) return 0;
  // As torch: the logarithm rounded to float32, then its ceiling.
  const auto log = static_cast<float>(log2(static_cast<double>(descale)));
  return static_cast<std::uint8_t>(static_cast<int>(fminf(fmaxf(ceilf(log), -127.0f), 127.0f)) +
                                   127);
}

// 2^exponent for -127 <= exponent <= 127
__device__ float power_of_two(int exponent) {
  return __uint_as_float(exponent == -127 ? 0x400000u
                                          : static_cast<unsigned>(exponent + 127) << 23);
}

__device__ std::uint8_t mx_exponent(const ActivationPlan& plan, float largest) {
  if (plan.scaling_mode == ScaleCalculationMode::kRceil)
    return rceil_exponent(largest / plan.element.max_value);
  if (largest != largest) return 255;
  unsigned bits = __float_as_uint(largest);
  if (plan.scaling_mode == ScaleCalculationMode::kEven)
    bits = (bits + (1u << (22 - plan.element.mantissa_bits))) & 0x7f800000u;
  int exponent = static_cast<int>(bits >> 23) - 127 - plan.element.max_exponent;
  if (plan.scaling_mode == ScaleCalculationMode::kCeil && (bits & 0x7fffffu) != 0) ++exponent;
  return static_cast<std::uint8_t>(min(max(exponent, -127), 128) + 127);
}

// What a block's values are multiplied with before they are rounded to elements.
__device__ float mx_encode_factor(const ActivationPlan& plan, std::uint8_t exponent,
                                  float largest) {
  if (plan.scaling_mode == ScaleCalculationMode::kRceil) {
    if (exponent == 255) return largest;
    return exponent == 0 ? 1.0f : power_of_two(127 - exponent);
  }
  return exponent == 255 ? 0.0f : power_of_two(127 - max(static_cast<int>(exponent), 1));
}

__device__ float mx_decode_factor(const ActivationPlan& plan, std::uint8_t exponent) {
  if (exponent == 255) return __uint_as_float(0x7fc00000u);
  return round_value(plan.compute, power_of_two(exponent - 127));
}

/// Where the operand of one row goes.
struct OperandRow {
  const ActivationPlan& plan;
  void* operand;
  std::int64_t first;

  __device__ void put(std::int64_t k, float v) const {
    store_value(plan.operand_dtype == DType::kBFloat16  ? ValueRounding::kBFloat16
                : plan.operand_dtype == DType::kFloat16 ? ValueRounding::kFloat16
                                                        : ValueRounding::kNone,
                operand, first + k, v);
  }
  __device__ void put_code(std::int64_t k, int code) const {
    static_cast<std::int8_t*>(operand)[first + k] = static_cast<std::int8_t>(code);
  }
  // A quotient within the format or NaN.
  __device__ void put_float8(std::int64_t k, float quotient, float scale) const {
    if (plan.form == OperandForm::kFloat8) {
      const __nv_fp8_interpretation_t format =
          plan.element_dtype == DType::kFloat8E5M2 ? __NV_E5M2 : __NV_E4M3;
      put_code(k, __nv_cvt_float_to_fp8(quotient, __NV_SATFINITE, format));
    } else {
      const float code = round_to_element(plan.element, quotient);
      put(k, plan.scales_values ? code * scale : code);
    }
  }
  __device__ void put_padding(std::int64_t k) const {
    if (plan.form == OperandForm::kValues) {
      put(k, 0.0f);
    } else {
      put_code(k, 0);
    }
  }
};

// The ends of each row, then (row = M) those of all.
__global__ void __launch_bounds__(kThreads)
    row_ends(ActivationPlan plan, const void* x, float* ends) {
  const std::int64_t m = blockIdx.x;
  const Ends e = ends_of_row(plan, {plan, x, m * plan.columns});
  if (threadIdx.x == 0) {
    ends[2 * m] = e.lo;
    ends[2 * m + 1] = e.hi;
  }
}

__global__ void __launch_bounds__(kThreads) join_ends(float* ends, std::int64_t m) {
  Ends e;
  for (std::int64_t i = threadIdx.x; i < m; i += kThreads)
    e = joined(e, {ends[2 * i], ends[2 * i + 1]});
  e = ends_of_block(e);
  if (threadIdx.x == 0) {
    ends[2 * m] = e.lo;
    ends[2 * m + 1] = e.hi;
  }
}

__device__ void quantize_int8_row(const ActivationPlan& plan, const Row& row, Ends ends,
                                  std::int64_t m, const OperandRow& out,
                                  const ActivationBuffers& buffers) {
  const Int8Scale q = choose_int8_scale(plan, ends);
  const bool is_fake = plan.kind == Kind::kInt8AsymPerToken;
  // The scales of int8 products are float32 by then, and so is the product.
  const ValueRounding product = is_fake ? plan.compute : ValueRounding::kNone;
  const float reciprocal = round_value(product, 1.0f / q.scale);
  for (std::int64_t k = threadIdx.x; k < plan.columns; k += kThreads) {
    const int code = int8_code(plan, product, row[k], reciprocal, q.zero_point);
    if (is_fake) {
      out.put(k, round_value(plan.compute, static_cast<float>(code - q.zero_point) * q.scale));
    } else {
      out.put_code(k, code);
    }
  }
  if (threadIdx.x == 0 && !is_fake) {
    buffers.row_scale[m] = q.scale;
    if (buffers.zero_point != nullptr)
      buffers.zero_point[m] = static_cast<std::int8_t>(q.zero_point);
  }
}

__device__ float clamped(const ElementFormat& f, float v) {
  return v < -f.max_value ? -f.max_value : (v > f.max_value ? f.max_value : v);
}

__device__ void quantize_float8_row(const ActivationPlan& plan, const Row& row, Ends ends,
                                    std::int64_t m, const OperandRow& out,
                                    const ActivationBuffers& buffers) {
  const float scale = choose_float8_scale(plan, abs_max(ends));
  for (std::int64_t k = threadIdx.x; k < plan.columns; k += kThreads)
    out.put_float8(k, clamped(plan.element, row[k] / scale), scale);
  if (threadIdx.x == 0 && buffers.row_scale != nullptr) buffers.row_scale[m] = scale;
}

__device__ float block_abs_max(const ActivationPlan& plan, const Row& row, std::int64_t first) {
  float largest = 0.0f;
  for (std::int64_t i = 0; i < plan.block_columns; ++i)
    largest = nan_max(largest, fabsf(row[first + i]));
  return largest;
}

// A thread takes a block.
__device__ void quantize_float8_blocks(const ActivationPlan& plan, const Row& row,
                                       const OperandRow& out) {
  for (std::int64_t first = threadIdx.x * plan.block_columns; first < plan.columns;
       first += kThreads * plan.block_columns) {
    const float scale = choose_float8_scale(plan, block_abs_max(plan, row, first));
    for (std::int64_t i = first; i < first + plan.block_columns; ++i)
      out.put_float8(i, clamped(plan.element, row[i] / scale), scale);
  }
}

__device__ void quantize_mx_row(const ActivationPlan& plan, const Row& row, const OperandRow& out) {
  for (std::int64_t first = threadIdx.x * plan.block_columns; first < plan.columns;
       first += kThreads * plan.block_columns) {
    const float largest = block_abs_max(plan, row, first);
    const std::uint8_t exponent = mx_exponent(plan, largest);
    const float encode = mx_encode_factor(plan, exponent, largest);
    const float decode = mx_decode_factor(plan, exponent);
    for (std::int64_t i = first; i < first + plan.block_columns; ++i) {
      out.put(i,
              round_value(plan.compute, round_to_element(plan.element, row[i] * encode) * decode));
    }
  }
}

// Values are code * block scale; per-tensor scales of both sides follow the sum, as the row's
// scale.
__device__ void quantize_nvfp4_row(const ActivationPlan& plan, const Row& row, Ends ends,
                                   std::int64_t m, const OperandRow& out,
                                   const ActivationBuffers& buffers) {
  constexpr ElementFormat kScaleFormat{3, -6, 8, kMaxNVFP4Scale};
  constexpr float kMinScale = 0x1p-6f;
  float tensor_scale = plan.is_static ? plan.static_scale : 1.0f;
  if (plan.is_per_tensor) tensor_scale = abs_max(ends) / (kMaxNVFP4Scale * plan.element.max_value);
  const float numerator = 1.0f / tensor_scale;
  for (std::int64_t first = threadIdx.x * plan.block_columns; first < plan.columns;
       first += kThreads * plan.block_columns) {
    float scale = block_abs_max(plan, row, first) / plan.element.max_value / tensor_scale;
    scale = round_to_element(kScaleFormat, scale < kMinScale ? kMinScale : scale);
    const float factor = numerator / scale;
    for (std::int64_t i = first; i < first + plan.block_columns; ++i)
      out.put(i, round_to_element(plan.element, row[i] * factor) * scale);
  }
  if (threadIdx.x == 0 && buffers.row_scale != nullptr)
    buffers.row_scale[m] = round_value(plan.compute, tensor_scale * plan.weight_tensor_scale);
}

// One block of threads a row.
__global__ void __launch_bounds__(kThreads)
    quantize_rows(ActivationPlan plan, const void* x, std::int64_t rows,
                  ActivationBuffers buffers) {
  const std::int64_t m = blockIdx.x;
  const Row row{plan, x, m * plan.columns};
  const OperandRow out{plan, buffers.operand, m * plan.stride()};
  for (std::int64_t k = plan.columns + threadIdx.x; k < plan.stride(); k += kThreads)
    out.put_padding(k);
  Ends ends;
  const bool has_blocks = plan.block_columns < plan.columns;
  if (plan.is_per_tensor) {
    ends = {buffers.ends[2 * rows], buffers.ends[2 * rows + 1]};
  } else if (plan.kind == Kind::kInt8AsymPerToken || plan.kind == Kind::kInt8Dynamic ||
             (plan.kind == Kind::kFloat8Dynamic && !has_blocks)) {
    ends = ends_of_row(plan, row);
  }
  switch (plan.kind) {
    case Kind::kNone:
      for (std::int64_t k = threadIdx.x; k < plan.columns; k += kThreads) out.put(k, row[k]);
      break;
    case Kind::kInt8Dynamic:
    case Kind::kInt8Static:
    case Kind::kInt8AsymPerToken:
      quantize_int8_row(plan, row, ends, m, out, buffers);
      break;
    case Kind::kFloat8Dynamic:
    case Kind::kFloat8Static:
      if (has_blocks) {
        quantize_float8_blocks(plan, row, out);
      } else {
        quantize_float8_row(plan, row, ends, m, out, buffers);
      }
      break;
    case Kind::kMXDynamic:
      quantize_mx_row(plan, row, out);
      break;
    case Kind::kNVFP4Dynamic:
      quantize_nvfp4_row(plan, row, ends, m, out, buffers);
      break;
  }
}

/// Rows whose values are as the linear sees them, eight at a time and held in registers between the
/// choice of the scale and the rounding; the same codes as quantize_rows makes.
template <typename T, int kRowThreads, int kUnits>
struct HeldRow {
  struct alignas(16) Unit {
    T values[8];
  };

  Unit held[kUnits];

  __device__ static bool has(const ActivationPlan& plan, int i) {
    return 8 * (i * kRowThreads + static_cast<std::int64_t>(threadIdx.x)) < plan.columns;
  }

  __device__ void load(const ActivationPlan& plan, const T* row) {
    const auto* from = reinterpret_cast<const Unit*>(row) + threadIdx.x;
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      if (has(plan, i)) held[i] = from[i * kRowThreads];
    }
  }

  __device__ Ends ends(const ActivationPlan& plan) const {
    Ends e;
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      if (!has(plan, i)) break;
#pragma unroll
      for (const T& value : held[i].values) {
        const float v = to_float(value);
        e = joined(e, {v, v});
      }
    }
    return ends_of_block<kRowThreads>(e);
  }

  // Calls code(value) for all of them.
  template <typename F>
  __device__ void store(const ActivationPlan& plan, std::uint8_t* row, const F& code) const {
    auto* to = reinterpret_cast<uint2*>(row) + threadIdx.x;
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      if (!has(plan, i)) break;
      uint2 words;
      auto* codes = reinterpret_cast<std::uint8_t*>(&words);
#pragma unroll
      for (int j = 0; j < 8; ++j) codes[j] = code(to_float(held[i].values[j]));
      to[i * kRowThreads] = words;
    }
  }
};

template <typename T, int kRowThreads, int kUnits>
__global__ void __launch_bounds__(kRowThreads)
    ends_of_held_rows(ActivationPlan plan, const T* x, float* ends) {
  const std::int64_t m = blockIdx.x;
  HeldRow<T, kRowThreads, kUnits> row;
  let_next_start();
  wait_for_previous();
  row.load(plan, x + m * plan.columns);
  const Ends e = row.ends(plan);
  if (threadIdx.x != 0) return;
  ends[2 * m] = e.lo;
  ends[2 * m + 1] = e.hi;
}

// The ends of all rows.
template <int kRowThreads>
__device__ Ends joined_rows(const float* ends, std::int64_t rows) {
  Ends e;
  for (std::int64_t i = threadIdx.x; i < rows; i += kRowThreads)
    e = joined(e, {ends[2 * i], ends[2 * i + 1]});
  return ends_of_block<kRowThreads>(e);
}

template <typename T, bool kIsInt8, int kRowThreads, int kUnits>
__global__ void __launch_bounds__(kRowThreads)
    quantize_held_rows(ActivationPlan plan, const T* x, std::int64_t rows,
                       ActivationBuffers buffers) {
  const std::int64_t m = blockIdx.x;
  HeldRow<T, kRowThreads, kUnits> row;
  let_next_start();
  wait_for_previous();
  row.load(plan, x + m * plan.columns);
  Ends ends;
  if (plan.is_per_tensor && rows > 1) {
    ends = joined_rows<kRowThreads>(buffers.ends, rows);
  } else if (!plan.is_static) {
    ends = row.ends(plan);
  }
  auto* out = static_cast<std::uint8_t*>(buffers.operand) + m * plan.stride();
  float scale = 0.0f;
  if constexpr (kIsInt8) {
    const Int8Scale q = choose_int8_scale(plan, ends);
    const float reciprocal = 1.0f / q.scale;
    row.store(plan, out, [&](float v) {
      return static_cast<std::uint8_t>(
          int8_code(plan, ValueRounding::kNone, v, reciprocal, q.zero_point));
    });
    if (threadIdx.x == 0 && buffers.zero_point != nullptr)
      buffers.zero_point[m] = static_cast<std::int8_t>(q.zero_point);
    scale = q.scale;
  } else {
    scale = choose_float8_scale(plan, abs_max(ends));
    const bool is_e5m2 = plan.element_dtype == DType::kFloat8E5M2;
    row.store(plan, out, [&](float v) {
      return __nv_cvt_float_to_fp8(v / scale, __NV_SATFINITE, is_e5m2 ? __NV_E5M2 : __NV_E4M3);
    });
  }
  if (threadIdx.x == 0 && buffers.row_scale != nullptr) buffers.row_scale[m] = scale;
}

constexpr std::int64_t kMostHeldColumns = 8 * 1024 * 4;

bool holds_rows(const ActivationPlan& plan, const void* x) {
  const bool is_int8 = (plan.kind == Kind::kInt8Dynamic || plan.kind == Kind::kInt8Static) &&
                       plan.form == OperandForm::kInt8;
  const bool is_float8 = (plan.kind == Kind::kFloat8Dynamic || plan.kind == Kind::kFloat8Static) &&
                         plan.form == OperandForm::kFloat8 && plan.block_columns == plan.columns;
  return (is_int8 || is_float8) && plan.pre_scale == nullptr && plan.compute == plan.x_dtype &&
         plan.stride() == plan.columns && plan.columns <= kMostHeldColumns &&
         reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
}

template <typename T, int kRowThreads, int kUnits>
void quantize_held(const ActivationPlan& plan, const T* x, std::int64_t m,
                   const ActivationBuffers& buffers, cudaStream_t on) {
  const auto blocks = static_cast<unsigned>(m);
  if (plan.is_per_tensor && m > 1) {
    launch_beside(ends_of_held_rows<T, kRowThreads, kUnits>, blocks, kRowThreads, 0, on, plan, x,
                  buffers.ends);
  }
  const auto kernel = plan.form == OperandForm::kInt8
                          ? quantize_held_rows<T, true, kRowThreads, kUnits>
                          : quantize_held_rows<T, false, kRowThreads, kUnits>;
  launch_beside(kernel, blocks, kRowThreads, 0, on, plan, x, m, buffers);
}

// As few threads as find room beside blocks of a product, which then starts before this is done.
template <typename T>
void launch_held(const ActivationPlan& plan, const T* x, std::int64_t m,
                 const ActivationBuffers& buffers, cudaStream_t on) {
  constexpr std::int64_t kFewRows = 256;
  if (plan.columns <= 8 * 512 && m <= kFewRows) {
    quantize_held<T, 512, 1>(plan, x, m, buffers, on);
  } else if (plan.columns <= 8 * 256 * 2) {
    quantize_held<T, 256, 2>(plan, x, m, buffers, on);
  } else if (plan.columns <= 8 * 256 * 8) {
    quantize_held<T, 256, 8>(plan, x, m, buffers, on);
  } else {
    quantize_held<T, 1024, 4>(plan, x, m, buffers, on);
  }
}

}  // namespace

void launch_activation(const ActivationPlan& plan, const void* x, std::int64_t m,
                       const ActivationBuffers& buffers, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const auto blocks = static_cast<unsigned>(m);
  if (holds_rows(plan, x)) {
    const DType dtype = plan.x_dtype == ValueRounding::kBFloat16  ? DType::kBFloat16
                        : plan.x_dtype == ValueRounding::kFloat16 ? DType::kFloat16
                                                                  : DType::kFloat32;
    with_operand_type(
        dtype, [&]<typename T>(T) { launch_held(plan, static_cast<const T*>(x), m, buffers, on); });
    return;
  }
  if (plan.is_per_tensor) {
    row_ends<<<blocks, kThreads, 0, on>>>(plan, x, buffers.ends);
    join_ends<<<1, kThreads, 0, on>>>(buffers.ends, m);
  }
  quantize_rows<<<blocks, kThreads, 0, on>>>(plan, x, m, buffers);
}

}  // namespace torchao_cpp::cuda
