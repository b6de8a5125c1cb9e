// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/logging.h"
#include "linear/linear_layer.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// This rank's share of `size`.
std::int64_t divided(std::int64_t size, const LinearOptions& options, std::string_view kind,
                     std::string_view what) {
  if (options.tp_size >= 1 && size % options.tp_size != 0) {
    throw ShapeError(fmt::format("{} '{}': {} is {}, which tp_size {} does not divide", kind,
                                 options.prefix, what, size, options.tp_size));
  }
  return size / std::max(options.tp_size, 1);
}

LinearPart column_part(std::int64_t output_size, const LinearOptions& options,
                       std::string_view kind) {
  const std::int64_t rows = divided(output_size, options, kind, "the output size");
  return {output_size, options.tp_rank * rows, rows};
}

}  // namespace

LinearBase::LinearBase(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  const LinearOptions& options = impl_->spec.options;
  if (options.quant_config != nullptr) {
    impl_->method = get_quant_method(*options.quant_config, options.prefix);
  } else {
    impl_->method = make_unquantized_linear_method({nullptr, LayerDecision::Source::kNoQuantization,
                                                    "", "the model has no quantization config"});
  }
  log_info(fmt::format("{}: {}: {}", impl_->where(), impl_->method->name(),
                       impl_->method->decision().reason));
  std::vector<std::int64_t> rows;
  for (const LinearPart& part : impl_->spec.parts) rows.push_back(part.rows);
  const bool is_row = impl_->spec.parallel == LinearParallel::kRow;
  const std::int64_t columns = impl_->spec.input_size / (is_row ? options.tp_size : 1);
  impl_->method->create_weights(*this, columns, rows, impl_->spec.input_size, impl_->output_size(),
                                options.params_dtype);
  impl_->spec.options.quant_config = nullptr;  // Not needed any more, and free to die.
}

LinearBase::~LinearBase() = default;

const std::string& LinearBase::prefix() const noexcept { return impl_->spec.options.prefix; }
std::int64_t LinearBase::input_size() const noexcept { return impl_->spec.input_size; }
std::int64_t LinearBase::output_size() const noexcept { return impl_->output_size(); }
std::int64_t LinearBase::input_size_per_partition() const noexcept {
  return impl_->input_size_per_partition;
}
std::span<const std::int64_t> LinearBase::output_partition_sizes() const noexcept {
  return impl_->output_partition_sizes;
}
std::int64_t LinearBase::output_size_per_partition() const noexcept {
  return impl_->output_size_per_partition();
}
DType LinearBase::params_dtype() const noexcept { return impl_->params_dtype; }
bool LinearBase::has_bias() const noexcept { return impl_->spec.options.bias; }
const LinearMethod& LinearBase::quant_method() const noexcept { return *impl_->method; }

void LinearBase::load_weight(const LoadedWeight& weight, std::optional<ShardId> shard_id) {
  impl_->load_weight(weight, shard_id);
}

void LinearBase::load_bias(const Tensor& bias, std::optional<ShardId> shard_id) {
  impl_->load_bias(bias, shard_id);
}

void LinearBase::process_weights_after_loading() {
  if (impl_->is_finished)
    throw Error(fmt::format("{}: process_weights_after_loading was called twice", impl_->where()));
  impl_->check_complete();
  impl_->method->process_weights_after_loading(*this);
}

void LinearBase::apply(const void* x, std::int64_t m, void* y,
                       const LinearContext& context) const noexcept {
  impl_->method->apply(*this, x, m, y, context);
}

std::int64_t LinearBase::workspace_bytes(std::int64_t m) const noexcept {
  std::int64_t most = 0;
  for (const Linear& linear : impl_->linears) most = std::max(most, linear.workspace_bytes(m));
  return most;
}

LinearReport LinearBase::report() const {
  const LayerDecision& decision = impl_->method->decision();
  LinearReport out;
  out.prefix = prefix();
  out.method = impl_->method->name();
  out.config = decision.config ? std::string(decision.config->type_name()) : "";
  out.rule = decision.rule;
  out.reason = decision.reason;
  if (!impl_->left_plain_reason.empty())
    out.reason += "; left unquantized: " + impl_->left_plain_reason;
  if (!impl_->notice.empty()) out.reason += "; " + impl_->notice;
  out.weight_class = impl_->weight_class;
  out.weight_detail = impl_->weight_detail;
  out.shape = {output_size_per_partition(), input_size_per_partition()};
  for (const Linear& linear : impl_->linears) {
    out.weight_bytes += linear.packed_bytes();
    if (out.kernel.find(linear.kernel_name()) == std::string::npos)
      out.kernel += (out.kernel.empty() ? "" : " + ") + std::string(linear.kernel_name());
    for (const std::string& rejected : linear.rejected_kernels()) {
      if (std::find(out.rejected_kernels.begin(), out.rejected_kernels.end(), rejected) ==
          out.rejected_kernels.end())
        out.rejected_kernels.push_back(rejected);
    }
  }
  return out;
}

std::vector<LoadedWeight> LinearBase::weights() const { return impl_->kept; }

ReplicatedLinear::ReplicatedLinear(std::int64_t input_size, std::int64_t output_size,
                                   LinearOptions options)
    : LinearBase(std::make_unique<Impl>(LinearLayerSpec{"ReplicatedLinear",
                                                        LinearParallel::kReplicated,
                                                        input_size,
                                                        {{output_size, 0, output_size}},
                                                        std::move(options)})) {}

ColumnParallelLinear::ColumnParallelLinear(std::int64_t input_size, std::int64_t output_size,
                                           LinearOptions options)
    : LinearBase(std::make_unique<Impl>(
          LinearLayerSpec{"ColumnParallelLinear",
                          LinearParallel::kColumn,
                          input_size,
                          {column_part(output_size, options, "ColumnParallelLinear")},
                          options})) {}

namespace {

LinearLayerSpec merged_spec(std::int64_t input_size, const std::vector<std::int64_t>& output_sizes,
                            LinearOptions options) {
  LinearLayerSpec spec{
      "MergedColumnParallelLinear", LinearParallel::kColumn, input_size, {}, std::move(options)};
  for (const std::int64_t size : output_sizes)
    spec.parts.push_back(column_part(size, spec.options, spec.kind));
  return spec;
}

// With fewer kv heads than ranks each head serves tp_size / heads ranks.
LinearPart kv_part(std::int64_t head_size, std::int64_t heads, const LinearOptions& options,
                   std::string_view kind) {
  if (heads < 1 || options.tp_size <= heads) return column_part(heads * head_size, options, kind);
  if (options.tp_size % heads != 0) {
    throw ShapeError(fmt::format("{} '{}': tp_size {} is no multiple of the {} kv heads", kind,
                                 options.prefix, options.tp_size, heads));
  }
  const std::int64_t replicas = options.tp_size / heads;
  return {heads * head_size, options.tp_rank / replicas * head_size, head_size};
}

LinearLayerSpec qkv_spec(std::int64_t hidden_size, std::int64_t head_size, std::int64_t heads,
                         std::int64_t kv_heads, LinearOptions options) {
  LinearLayerSpec spec{
      "QKVParallelLinear", LinearParallel::kColumn, hidden_size, {}, std::move(options)};
  divided(heads, spec.options, spec.kind, "the number of heads");
  if (spec.options.tp_size <= kv_heads)
    divided(kv_heads, spec.options, spec.kind, "the number of kv heads");
  const LinearPart kv = kv_part(head_size, kv_heads, spec.options, spec.kind);
  spec.parts = {column_part(heads * head_size, spec.options, spec.kind), kv, kv};
  return spec;
}

}  // namespace

MergedColumnParallelLinear::MergedColumnParallelLinear(std::int64_t input_size,
                                                       std::vector<std::int64_t> output_sizes,
                                                       LinearOptions options)
    : LinearBase(
          std::make_unique<Impl>(merged_spec(input_size, output_sizes, std::move(options)))) {}

QKVParallelLinear::QKVParallelLinear(std::int64_t hidden_size, std::int64_t head_size,
                                     std::int64_t total_num_heads, std::int64_t total_num_kv_heads,
                                     LinearOptions options)
    : LinearBase(std::make_unique<Impl>(qkv_spec(hidden_size, head_size, total_num_heads,
                                                 total_num_kv_heads, std::move(options)))) {}

RowParallelLinear::RowParallelLinear(std::int64_t input_size, std::int64_t output_size,
                                     LinearOptions options)
    : LinearBase(std::make_unique<Impl>(LinearLayerSpec{"RowParallelLinear",
                                                        LinearParallel::kRow,
                                                        input_size,
                                                        {{output_size, 0, output_size}},
                                                        options})) {
  divided(input_size, options, "RowParallelLinear", "the input size");
}

}  // namespace torchao_cpp
