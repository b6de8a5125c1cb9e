// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Tensor wave(DType dtype, Shape shape, float step) {
  Tensor t = Tensor::empty(DType::kFloat32, std::move(shape));
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) * step;
  return t.to(dtype);
}

LinearOptions options_of(std::string prefix, const TorchAOConfig* config = nullptr, int tp_size = 1,
                         int tp_rank = 0) {
  LinearOptions o;
  o.params_dtype = DType::kFloat32;
  o.prefix = std::move(prefix);
  o.quant_config = config;
  o.tp_size = tp_size;
  o.tp_rank = tp_rank;
  o.keep_weights = true;
  return o;
}

LoadedWeight plain(Tensor weight) { return {std::move(weight), nullptr}; }

LoadedWeight quantized(const Tensor& weight, std::string_view config) {
  return quantize_param_data(weight, *config_from_shorthand(config)).weight;
}

Tensor apply(const LinearBase& layer, const Tensor& x) {
  const std::int64_t m = x.shape()[0];
  Tensor y = Tensor::empty(layer.params_dtype(), {m, layer.output_size_per_partition()});
  Tensor workspace = Tensor::empty(DType::kUInt8, {layer.workspace_bytes(m) + 1});
  layer.apply(x.bytes(), m, y.mutable_bytes(), {workspace.mutable_bytes(), {}});
  return y;
}

template <typename F>
std::string message_of(const F& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(LinearBase, PlainLayerIsXTimesWTransposedPlusB) {
  LinearOptions options = options_of("up_proj");
  options.bias = true;
  ReplicatedLinear layer(3, 2, options);
  const float w[] = {1, 2, 3, 4, 5, 6};
  const float b[] = {10, 20};
  const float x[] = {1, 0, -1};
  layer.load_weight(plain(Tensor::from_values<float>(DType::kFloat32, {2, 3}, w)));
  layer.load_bias(Tensor::from_values<float>(DType::kFloat32, {2}, b));
  layer.process_weights_after_loading();
  const Tensor y = apply(layer, Tensor::from_values<float>(DType::kFloat32, {1, 3}, x));
  EXPECT_THAT(y.span<float>(), testing::ElementsAre(8, 18));
  EXPECT_EQ(layer.report().method, "UnquantizedLinearMethod");
  EXPECT_EQ(layer.report().weight_class, "Tensor");
}

TEST(LinearBase, ConfigQuantizesOnTheFlyAndTheReportSaysWhy) {
  const TorchAOConfig config(config_from_shorthand("int8wo"), {"lm_head"}, false);
  ReplicatedLinear layer(64, 8, options_of("model.layers.0.mlp.down_proj", &config));
  const Tensor weight = wave(DType::kFloat32, {8, 64}, 0.01F);
  layer.load_weight(plain(weight));
  layer.process_weights_after_loading();
  const LinearReport report = layer.report();
  EXPECT_EQ(report.method, "TorchAOLinearMethod");
  EXPECT_EQ(report.config, "Int8WeightOnlyConfig");
  EXPECT_EQ(report.weight_class, "Int8Tensor");
  EXPECT_THAT(report.kernel, HasSubstr("int8_weight_only_linear/"));
  EXPECT_THAT(report.reason, HasSubstr("Int8WeightOnlyConfig"));
  ASSERT_EQ(layer.weights().size(), 1u);
  EXPECT_TRUE(equal_bytes(layer.weights()[0].quantized->dequantize(),
                          quantized(weight, "int8wo").quantized->dequantize()));

  ReplicatedLinear skipped(64, 8, options_of("lm_head", &config));
  skipped.load_weight(plain(weight));
  skipped.process_weights_after_loading();
  EXPECT_EQ(skipped.report().method, "UnquantizedLinearMethod");
  EXPECT_EQ(skipped.report().rule, "lm_head");
}

TEST(LinearBase, WeightThatTorchaoLeavesAloneRunsPlainWithTheReason) {
  const TorchAOConfig config(config_from_shorthand("int4wo-128"), {}, false);
  ReplicatedLinear layer(96, 8, options_of("q_proj", &config));
  layer.load_weight(plain(wave(DType::kFloat32, {8, 96}, 0.01F)));
  layer.process_weights_after_loading();
  EXPECT_EQ(layer.report().weight_class, "Tensor");
  EXPECT_THAT(layer.report().reason, HasSubstr("left unquantized: "));
  EXPECT_THAT(layer.report().kernel, HasSubstr("unquantized_linear/"));
}

TEST(LinearBase, StoredWeightDecidesInATorchaoCheckpoint) {
  const TorchAOConfig config(config_from_shorthand("int8wo"), {}, true);
  const Tensor weight = wave(DType::kFloat32, {8, 64}, 0.01F);
  ReplicatedLinear stays_plain(64, 8, options_of("a", &config));
  stays_plain.load_weight(plain(weight));
  stays_plain.process_weights_after_loading();
  EXPECT_EQ(stays_plain.report().weight_class, "Tensor");

  ReplicatedLinear stored(64, 8, options_of("b"));  // no config at all
  stored.load_weight(quantized(weight, "fp8wo"));
  stored.process_weights_after_loading();
  EXPECT_EQ(stored.report().weight_class, "Float8Tensor");
  EXPECT_EQ(stored.report().reason, "the checkpoint holds it quantized");
}

TEST(LinearBase, FusedPartsBecomeOneWeightWhereValuesStay) {
  const Tensor q = wave(DType::kFloat32, {16, 32}, 0.01F);
  const Tensor k = wave(DType::kFloat32, {8, 32}, 0.03F);
  const Tensor x = wave(DType::kFloat32, {3, 32}, 0.1F);
  for (const std::string_view config : {"int8wo", "int8dq-tensor", "int4wo-32", "fp8wo", "8da4w"}) {
    QKVParallelLinear layer(32, 8, 2, 1, options_of("qkv_proj"));
    layer.load_weight(quantized(q, config), 0);
    layer.load_weight(quantized(k, config), 2);
    layer.load_weight(quantized(k, config), 1);
    layer.process_weights_after_loading();
    // Per-tensor scales stay each part's own, so the parts are kept apart.
    EXPECT_EQ(layer.weights().size(), config == "int8dq-tensor" ? 3u : 1u) << config;
    const Tensor y = apply(layer, x);
    const Tensor want_q = Linear(quantized(q, config), DType::kFloat32)(x);
    const Tensor want_k = Linear(quantized(k, config), DType::kFloat32)(x);
    for (std::int64_t m = 0; m < 3; ++m) {
      const float* row = y.data<float>() + m * 32;
      EXPECT_EQ(std::memcmp(row, want_q.data<float>() + m * 16, 64), 0) << config << " row " << m;
      EXPECT_EQ(std::memcmp(row + 16, want_k.data<float>() + m * 8, 32), 0)
          << config << " row " << m;
      EXPECT_EQ(std::memcmp(row + 24, want_k.data<float>() + m * 8, 32), 0)
          << config << " row " << m;
    }
  }
}

TEST(LinearBase, ColumnParallelRanksMakeTheWhole) {
  const Tensor weight = wave(DType::kFloat32, {64, 64}, 0.01F);
  const Tensor bias = wave(DType::kFloat32, {64}, 0.2F);
  const Tensor x = wave(DType::kFloat32, {2, 64}, 0.1F);
  for (const std::string_view config :
       {"", "int8wo", "int8dq", "int4wo-32", "intx3wo-16", "fp8wo", "8da4w"}) {
    const LoadedWeight whole = config.empty() ? plain(weight) : quantized(weight, config);
    const Tensor want = Linear(whole, DType::kFloat32)(x, bias);
    for (int rank = 0; rank < 4; ++rank) {
      LinearOptions options = options_of("gate_proj", nullptr, 4, rank);
      options.bias = true;
      ColumnParallelLinear layer(64, 64, options);
      layer.load_weight(whole);
      layer.load_bias(bias);
      layer.process_weights_after_loading();
      const Tensor y = apply(layer, x);
      ASSERT_EQ(y.shape(), (Shape{2, 16}));
      for (std::int64_t m = 0; m < 2; ++m) {
        EXPECT_EQ(
            std::memcmp(y.data<float>() + m * 16, want.data<float>() + m * 64 + rank * 16, 64), 0)
            << config << " rank " << rank;
      }
    }
  }
}

TEST(LinearBase, RowParallelRanksSumToTheWholeWithTheBiasOnce) {
  const Tensor weight = wave(DType::kFloat32, {16, 128}, 0.01F);
  const Tensor bias = wave(DType::kFloat32, {16}, 0.2F);
  const Tensor x = wave(DType::kFloat32, {2, 128}, 0.1F);
  for (const std::string_view config : {"", "int8wo", "int4wo-32", "intx4wo-32", "fp8wo"}) {
    const LoadedWeight whole = config.empty() ? plain(weight) : quantized(weight, config);
    const Tensor want = Linear(whole, DType::kFloat32)(x, bias);
    Tensor sum = Tensor::zeros(DType::kFloat32, {2, 16});
    for (int rank = 0; rank < 4; ++rank) {
      LinearOptions options = options_of("down_proj", nullptr, 4, rank);
      options.bias = true;
      RowParallelLinear layer(128, 16, options);
      layer.load_weight(whole);
      layer.load_bias(bias);
      layer.process_weights_after_loading();
      const Tensor y = apply(layer, x.narrow(1, rank * 32, 32));
      for (std::int64_t i = 0; i < 32; ++i) sum.mutable_data<float>()[i] += y.data<float>()[i];
    }
    for (std::int64_t i = 0; i < 32; ++i)
      EXPECT_NEAR(sum.data<float>()[i], want.data<float>()[i], 1e-4) << config << " at " << i;
  }
}

TEST(LinearBase, SliceThatCannotBeExactIsRefusedWithWhatWouldWork) {
  // 192 columns are one group of 128 and a half.
  const Tensor weight = wave(DType::kFloat32, {16, 384}, 0.01F);
  RowParallelLinear int4(384, 16, options_of("down_proj", nullptr, 2, 1));
  EXPECT_THAT(message_of([&] { int4.load_weight(quantized(weight, "int4wo-128")); }),
              AllOf(HasSubstr("down_proj"), HasSubstr("rank 1 of 2"), HasSubstr("Int4Tensor"),
                    HasSubstr("128")));
}

TEST(LinearBase, KvHeadsAreReplicatedOverMoreRanks) {
  // 4 query heads and 2 kv heads of 8 on 4 ranks: ranks 0 and 1 share the first kv head.
  const Tensor q = wave(DType::kFloat32, {32, 16}, 0.01F);
  const Tensor kv = wave(DType::kFloat32, {16, 16}, 0.02F);
  for (int rank = 0; rank < 4; ++rank) {
    QKVParallelLinear layer(16, 8, 4, 2, options_of("qkv_proj", nullptr, 4, rank));
    EXPECT_THAT(layer.output_partition_sizes(), testing::ElementsAre(8, 8, 8));
    EXPECT_EQ(layer.output_size(), 64);
    layer.load_weight(plain(q), 0);
    layer.load_weight(plain(kv), 1);
    layer.load_weight(plain(kv), 2);
    layer.process_weights_after_loading();
    const Tensor got = layer.weights().at(0).plain;
    EXPECT_TRUE(equal_bytes(got.narrow(0, 0, 8).clone(), q.narrow(0, rank * 8, 8).clone()));
    EXPECT_TRUE(equal_bytes(got.narrow(0, 8, 8).clone(), kv.narrow(0, rank / 2 * 8, 8).clone()));
    EXPECT_TRUE(equal_bytes(got.narrow(0, 16, 8).clone(), kv.narrow(0, rank / 2 * 8, 8).clone()));
  }
}

TEST(LinearBase, FusedOnDiskIsCutPartByPart) {
  const Tensor gate_up = wave(DType::kFloat32, {32, 16}, 0.01F);
  for (int rank = 0; rank < 2; ++rank) {
    MergedColumnParallelLinear layer(16, {16, 16}, options_of("gate_up_proj", nullptr, 2, rank));
    layer.load_weight(plain(gate_up));
    layer.process_weights_after_loading();
    const Tensor got = layer.weights().at(0).plain;
    EXPECT_TRUE(equal_bytes(got.narrow(0, 0, 8).clone(), gate_up.narrow(0, rank * 8, 8).clone()));
    EXPECT_TRUE(
        equal_bytes(got.narrow(0, 8, 8).clone(), gate_up.narrow(0, 16 + rank * 8, 8).clone()));
  }
}

TEST(LinearBase, FusedLayerWhosePartsDisagreeNamesTheRules) {
  const TorchAOConfig config = TorchAOConfig::from_config_dict_json(
      R"({"_type":"FqnToConfig","_version":1,"_data":{"fqn_to_config":{"a.q_proj":null,)"
      R"("_default":{"_type":"Int8WeightOnlyConfig","_version":2,"_data":{}}}}})");
  TorchAOConfig with_mapping = config;
  with_mapping.set_packed_modules_mapping({{"qkv_proj", {"q_proj", "k_proj", "v_proj"}}});
  EXPECT_THAT(
      message_of([&] { QKVParallelLinear(32, 8, 2, 1, options_of("a.qkv_proj", &with_mapping)); }),
      AllOf(HasSubstr("a.qkv_proj"), HasSubstr("a.q_proj"), HasSubstr("_default")));
}

TEST(LinearBase, MisuseIsAnErrorThatNamesTheLayer) {
  EXPECT_THAT(message_of([] { ColumnParallelLinear(16, 10, options_of("x", nullptr, 4, 0)); }),
              AllOf(HasSubstr("'x'"), HasSubstr("10"), HasSubstr("tp_size 4")));
  EXPECT_THAT(message_of([] { RowParallelLinear(10, 16, options_of("x", nullptr, 4, 0)); }),
              HasSubstr("tp_size 4"));
  EXPECT_THAT(message_of([] { ReplicatedLinear(16, 16, options_of("x", nullptr, 2, 2)); }),
              HasSubstr("tp_rank"));
  EXPECT_THAT(message_of([] { ReplicatedLinear(0, 16, options_of("x")); }), HasSubstr("[16, 0]"));

  MergedColumnParallelLinear layer(16, {8, 8}, options_of("gate_up_proj"));
  EXPECT_THAT(message_of([&] {
                layer.load_weight(plain(wave(DType::kFloat32, {8, 15}, 1)), 0);
              }),
              AllOf(HasSubstr("gate_up_proj"), HasSubstr("[8, 15]"), HasSubstr("[8, 16]")));
  EXPECT_THAT(message_of([&] {
                layer.load_weight(plain(wave(DType::kFloat32, {8, 16}, 1)), 2);
              }),
              HasSubstr("0 to 1"));
  EXPECT_THAT(message_of([&] { layer.load_bias(wave(DType::kFloat32, {8}, 1), 0); }),
              HasSubstr("without one"));
  EXPECT_THAT(message_of([&] { layer.process_weights_after_loading(); }), HasSubstr("0 of 2"));
  layer.load_weight(plain(wave(DType::kFloat32, {8, 16}, 1)), 0);
  EXPECT_THAT(message_of([&] {
                layer.load_weight(plain(wave(DType::kFloat32, {8, 16}, 1)), 0);
              }),
              HasSubstr("twice"));
  layer.load_weight(plain(wave(DType::kFloat32, {8, 16}, 1)), 1);
  layer.process_weights_after_loading();
  EXPECT_THAT(message_of([&] { layer.process_weights_after_loading(); }), HasSubstr("twice"));
  EXPECT_THAT(message_of([&] {
                layer.load_weight(plain(wave(DType::kFloat32, {8, 16}, 1)), 1);
              }),
              HasSubstr("finished"));
}

TEST(KernelInfos, EveryOperationRunsAWeightClassAndTheyNameNoOther) {
  std::set<std::string> operations{"unquantized_linear"};
  for (const WeightClassInfo& info : weight_class_infos())
    operations.insert(info.operations.begin(), info.operations.end());
  std::set<std::string> with_kernels;
  for (const KernelInfo& kernel : kernel_infos()) with_kernels.insert(kernel.operation);
  EXPECT_EQ(operations, with_kernels);
}

TEST(IsSafetensorsSerializable, IsTorchaosClosedList) {
  // prototype/safetensors/safetensors_utils.py of torchao 0.18.
  const std::set<std::string> expected{"Float8Tensor",
                                       "Int4Tensor",
                                       "Int4TilePackedTo4dTensor",
                                       "IntxUnpackedToInt8Tensor",
                                       "Int8Tensor",
                                       "Int4PlainInt32Tensor",
                                       "MXTensor",
                                       "NVFP4Tensor"};
  std::set<std::string> storable;
  for (const WeightClassInfo& info : weight_class_infos()) {
    if (is_safetensors_serializable(info.name)) storable.insert(info.name);
  }
  EXPECT_EQ(storable, expected);
  EXPECT_FALSE(is_safetensors_serializable("Tensor"));
  EXPECT_FALSE(is_safetensors_serializable(""));
}

TEST(Linear, ForcedKernelRunsOrSaysWhyNot) {
  const Tensor weight = wave(DType::kFloat32, {8, 64}, 0.01F);
  const Linear by_isa(quantized(weight, "int8wo"), DType::kFloat32, "ref");
  EXPECT_EQ(by_isa.kernel_name(), "int8_weight_only_linear/ref");
  const Linear by_name(quantized(weight, "int8wo"), DType::kFloat32, "int8_weight_only_linear/ref");
  EXPECT_EQ(by_name.kernel_name(), "int8_weight_only_linear/ref");
  // A kernel's name holds for its own operation only.
  EXPECT_NO_THROW(Linear(plain(weight), DType::kFloat32, "int8_weight_only_linear/ref"));
  EXPECT_THAT(message_of([&] { Linear(plain(weight), DType::kFloat32, "fast"); }),
              AllOf(HasSubstr("'fast'"), HasSubstr("ref")));
  EXPECT_THAT(message_of([&] { Linear(plain(weight), DType::kFloat32, {}, Device::cuda(1000)); }),
              AllOf(HasSubstr("no kernel fits"), HasSubstr("[8, 64]")));
  EXPECT_THAT(message_of([&] { Linear(plain(weight), DType::kInt8); }), HasSubstr("int8"));
}

TEST(Linear, ChecksItsArguments) {
  const Linear linear(plain(wave(DType::kFloat32, {8, 64}, 0.01F)), DType::kFloat32);
  EXPECT_THAT(message_of([&] { linear(wave(DType::kFloat32, {2, 63}, 1)); }), HasSubstr("[M, 64]"));
  EXPECT_THAT(message_of([&] {
                linear(wave(DType::kBFloat16, {2, 64}, 1));
              }),
              HasSubstr("bfloat16"));
  EXPECT_THAT(message_of([&] {
                linear(wave(DType::kFloat32, {2, 64}, 1), wave(DType::kFloat32, {7}, 1));
              }),
              HasSubstr("[8]"));
  EXPECT_EQ(linear(Tensor::empty(DType::kFloat32, {0, 64})).shape(), (Shape{0, 8}));
  EXPECT_THAT(message_of([] { Linear(LoadedWeight{}, DType::kFloat32); }), HasSubstr("[N, K]"));
}

// The same layer on a GPU and on the CPU.
TEST(LinearBase, RunsOnAGpu) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  const TorchAOConfig config(config_from_shorthand("int4wo-32"), {}, false);
  LinearOptions options = options_of("model.layers.0.mlp.down_proj", &config);
  options.params_dtype = DType::kBFloat16;
  options.bias = true;
  const Tensor weight = wave(DType::kBFloat16, {48, 128}, 0.01F);
  const Tensor bias = wave(DType::kBFloat16, {48}, 0.1F);
  const Tensor x = wave(DType::kBFloat16, {3, 128}, 0.02F);
  std::vector<Tensor> results;
  for (const Device device : {Device::cpu(), Device::cuda(0)}) {
    options.device = device;
    ReplicatedLinear layer(128, 48, options);
    layer.load_weight(plain(weight));
    layer.load_bias(bias);
    layer.process_weights_after_loading();
    if (device == Device::cpu()) {
      results.push_back(apply(layer, x));
      continue;
    }
    EXPECT_THAT(layer.report().kernel, HasSubstr("cuda"));
    Tensor y = Tensor::empty(DType::kBFloat16, {3, 48});
    const DeviceBuffer input(x.bytes(), x.nbytes(), 0);
    const DeviceBuffer output(y.nbytes(), 0);
    const DeviceBuffer workspace(layer.workspace_bytes(3), 0);
    layer.apply(input.data(), 3, output.data(), {workspace.data(), {}});
    output.download(y.mutable_bytes(), y.nbytes());
    results.push_back(y);
    // The convenience takes and gives host memory.
    const Linear linear(layer.weights().front(), DType::kBFloat16, "", device);
    EXPECT_TRUE(equal_bytes(linear(x, bias), y));
  }
  const Tensor want = results[0].to(DType::kFloat32);
  const Tensor got = results[1].to(DType::kFloat32);
  for (std::int64_t i = 0; i < want.numel(); ++i)
    EXPECT_NEAR(got.data<float>()[i], want.data<float>()[i], 0.02F + 0.02F * std::abs(want.data<float>()[i]));
}

TEST(LinearBase, MemoryThatAGpuHasNotIsAnErrorThatOneCanGoOnFrom) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_refusal();
  EXPECT_THAT(message_of([] { DeviceBuffer(std::int64_t{1} << 50, 0); }),
              AllOf(HasSubstr("out of memory"), HasSubstr("1125899906842624 bytes are needed")));
  const int value = 7;
  int got = 0;
  DeviceBuffer(&value, sizeof(value), 0).download(&got, sizeof(got));
  EXPECT_EQ(got, value);
}

TEST(LinearBase, AGpuThatIsNotThereIsAnErrorThatSaysWhy) {
  LinearOptions options = options_of("lm_head");
  options.device = Device::cuda(1000);
  ReplicatedLinear layer(32, 16, options);
  layer.load_weight(plain(wave(DType::kFloat32, {16, 32}, 0.01F)));
  EXPECT_THAT(message_of([&] { layer.process_weights_after_loading(); }),
              AllOf(HasSubstr("lm_head"), HasSubstr("no kernel fits")));
}

}  // namespace
}  // namespace torchao_cpp
