# SPDX-License-Identifier: Apache-2.0
"""Every command of `torchao` does what it says, as text and as JSON."""

import json
import math
import os
import unittest

from cli_runner import CHECKPOINTS, DEMO, INT8, CliTest, read_safetensors_header, run

SHORT = ["--max-new-tokens", "8"]


class Inspect(CliTest):
    def test_demo_model_lists_every_parameter(self):
        info = self.succeed_json("inspect", DEMO)
        weight_map = json.loads((DEMO / "model.safetensors.index.json").read_text())["weight_map"]
        self.assertEqual({p["fqn"] for p in info["parameters"]}, set(weight_map))
        self.assertEqual(info["architecture"], "Qwen3ForCausalLM")
        self.assertIsNone(info["quantization_config"])
        self.assertFalse(info["is_torchao_serialized"])
        self.assertEqual(info["totals"]["nbytes"], sum(p["nbytes"] for p in info["parameters"]))
        self.assertEqual(info["totals"]["num_parameters"], sum(math.prod(p["shape"]) for p in info["parameters"]))
        self.assertEqual({p["bits_per_weight"] for p in info["parameters"]}, {16})

    def test_quantized_checkpoint_shows_weight_classes(self):
        info = self.succeed_json("inspect", INT8)
        self.assertTrue(info["is_torchao_serialized"])
        q_proj = next(p for p in info["parameters"] if p["fqn"] == "model.layers.0.self_attn.q_proj.weight")
        self.assertEqual(q_proj["weight_class"], "Int8Tensor")
        self.assertEqual(q_proj["shape"], [64, 64])
        header = read_safetensors_header(INT8 / "model.safetensors")
        spans = [entry["data_offsets"] for name, entry in header.items() if name.startswith("model.layers.0.self_attn.q_proj.")]
        self.assertEqual(q_proj["nbytes"], sum(end - begin for begin, end in spans))
        self.assertEqual(info["totals"]["by_class"]["Int8Tensor"]["tensors"], 7)

    def test_text_is_a_table_with_totals(self):
        text = self.succeed("inspect", INT8)
        self.assertIn("model.layers.0.self_attn.q_proj.weight", text)
        self.assertIn("Int8Tensor", text)
        self.assertRegex(text, r"\ntotal ")

    def test_short_joins_layers(self):
        text = self.succeed("inspect", DEMO, "--short")
        self.assertRegex(text, r"model\.layers\.0-\d+\.mlp\.up_proj\.weight")
        self.assertLess(len(text.splitlines()), len(self.succeed("inspect", DEMO).splitlines()))


class Explain(CliTest):
    def test_every_linear_has_config_and_kernel(self):
        report = self.succeed_json("explain", DEMO, "--quantization", "int8wo")
        quantized = [r for r in report["linears"] if r["method"] == "TorchAOLinearMethod"]
        self.assertTrue(all(r["config"] == "Int8WeightOnlyConfig" and r["weight_class"] == "Int8Tensor" and r["kernel"] for r in quantized))
        self.assertGreater(len(quantized), 0)

    def test_skipped_modules_name_their_rule(self):
        report = self.succeed_json("explain", DEMO, "--quantization", "int8wo", "--skip", "mlp")
        skipped = [r for r in report["linears"] if ".mlp." in r["fqn"]]
        self.assertTrue(skipped)
        for linear in skipped:
            self.assertEqual((linear["method"], linear["rule"]), ("UnquantizedLinearMethod", "mlp"))

    def test_plain_model_is_unquantized(self):
        report = self.succeed_json("explain", DEMO)
        self.assertEqual({r["method"] for r in report["linears"]}, {"UnquantizedLinearMethod"})

    def test_json_text_and_file_are_the_same_as_the_shorthand(self):
        expected = self.succeed_json("explain", DEMO, "--quantization", "int8wo")
        config = json.dumps({"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}})
        (self.folder / "c.json").write_text(config)
        for spelling in (config, self.folder / "c.json"):
            got = self.succeed_json("explain", DEMO, "--quantization", spelling)
            self.assertEqual([r["weight_class"] for r in got["linears"]], [r["weight_class"] for r in expected["linears"]])

    def test_text_has_reasons(self):
        text = self.succeed("explain", DEMO, "--quantization", "int8wo", "--short")
        self.assertIn("Int8WeightOnlyConfig", text)
        self.assertIn("\nwhy\n", text)
        self.assertIn("bits/weight", text)


class Convert(CliTest):
    def test_quantize_then_use_and_dequantize(self):
        quantized, plain = self.folder / "q", self.folder / "p"
        report = self.succeed_json("quantize", DEMO, quantized, "--quantization", "int8wo", "--skip", "model.layers.0.mlp.up_proj")
        self.assertLess(report["bytes_after"], report["bytes_before"])
        rows = {row["fqn"]: row["weight_class"] for row in report["weights"]}
        self.assertEqual(rows["model.layers.0.mlp.up_proj.weight"], "Tensor")
        self.assertEqual(rows["model.layers.1.mlp.up_proj.weight"], "Int8Tensor")

        info = self.succeed_json("inspect", quantized)
        self.assertTrue(info["is_torchao_serialized"])
        self.assertEqual(info["quantization_config"]["quant_method"], "torchao")
        self.assertEqual(info["totals"]["nbytes"], report["bytes_after"])

        ids = ["--input-ids", "427,1711,1283,294", *SHORT]
        stored = self.succeed_json("generate", quantized, *ids)
        on_the_fly = self.succeed_json("generate", DEMO, *ids, "--quantization", "int8wo", "--skip", "model.layers.0.mlp.up_proj")
        self.assertEqual(stored["output_ids"], on_the_fly["output_ids"])
        self.assertEqual(stored["linear_weight_bytes"], on_the_fly["linear_weight_bytes"])

        self.succeed("dequantize", quantized, plain, "--dtype", "f32")
        info = self.succeed_json("inspect", plain)
        self.assertFalse(info["is_torchao_serialized"])
        self.assertIsNone(info["quantization_config"])
        self.assertEqual({p["dtype"] for p in info["parameters"]}, {"float32"})

    def test_dequantize_fixture_text(self):
        text = self.succeed("dequantize", INT8, self.folder / "p")
        self.assertIn("wrote ", text)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["p"])


class Logits(CliTest):
    def test_file_holds_float32_rows(self):
        output = self.folder / "l.safetensors"
        report = self.succeed_json("logits", INT8, "--input-ids", "1,2,3", "--output", output)
        self.assertEqual(report["shape"], [3, 48])
        header = read_safetensors_header(output)
        self.assertEqual((header["logits"]["dtype"], header["logits"]["shape"]), ("F32", [3, 48]))

    def test_every_compute_dtype(self):
        for dtype, name in (("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16")):
            report = self.succeed_json("logits", INT8, "--input-ids", "5", "--dtype", dtype, "--output", self.folder / dtype)
            self.assertEqual(report["compute_dtype"], name)

    def test_text(self):
        self.assertIn("[2, 48]", self.succeed("logits", INT8, "--input-ids", "1, 2", "--output", self.folder / "l"))


class Bench(CliTest):
    def bench(self, *arguments):
        """The table and the JSON file of a quick run."""
        file = self.folder / "bench.json"
        text = self.succeed("bench", *arguments, "--json", file)
        out = json.loads(file.read_text())
        self.assertGreater(out["machine"]["read_bytes_per_second"], 0)
        self.assertIn("reads", text)
        self.assertFalse(list(self.folder.glob("*.part")))
        return text, out

    def test_linear(self):
        plot = self.folder / "bench.svg"
        text, out = self.bench("linear", "--shapes", "64x128,32x96", "--configs", "plain,int4wo-128", "--m", "1,20", "--seconds", "0",
                               "--rotation-mib", "1", "--kernel", "ref", "--plot", plot)
        self.assertEqual([r["m"] for r in out["linears"]], [1, 20] * 4)
        self.assertEqual([bool(r["problem"]) for r in out["linears"]], [False] * 6 + [True] * 2)
        self.assertIn("unquantized_linear/ref", text)
        self.assertIn("plain 64x128", plot.read_text())

    def test_quantize(self):
        for arguments in ([DEMO], ["--shapes", "64x128", "--seconds", "0"]):
            text, out = self.bench("quantize", *arguments, "--configs", "int8wo,int4wo-32")
            self.assertEqual([r["config"] for r in out["quantize"]], ["int8wo", "int4wo-32"])
            self.assertGreater(out["quantize"][0]["bytes_per_second"], 0)
            self.assertIn("GB/s of bf16", text)

    def test_model(self):
        text, out = self.bench("model", DEMO, "-q", "int8wo", "--batch", "1,3", "--prompt-tokens", "10", "--decode-tokens", "4",
                               "--repeats", "1", "--threads", "1")
        self.assertEqual([r["batch"] for r in out["batches"]], [1, 3])
        for row in out["batches"]:
            self.assertGreater(row["decode_tokens_per_second"], 0)
            self.assertAlmostEqual(sum(row["decode_shares"].values()), 1)
        self.assertEqual(out["machine"]["threads"], 1)
        self.assertIn("attention %", text)

    def test_errors_come_before_the_work(self):
        for arguments in (["linear", "--configs", "nonsense"], ["quantize", DEMO, "--configs", "plain"], ["quantize", self.folder / "absent"],
                          ["model", self.folder / "absent"], ["model", DEMO, "--context", "20"],
                          ["linear", "--json", self.folder / "absent" / "x"], ["linear", "--plot", self.folder]):
            result = run("bench", *arguments)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertEqual(result.stdout, "")
            self.assertRegex(result.stderr, r"^torchao: .+\n$")


class Generate(CliTest):
    def test_greedy_ids_of_the_demo_model(self):
        for prompt in json.loads((DEMO / "expected_greedy_f32.json").read_text()).values():
            result = self.succeed_json("generate", DEMO, "--prompt", prompt["text"], "--dtype", "f32", *SHORT)
            self.assertEqual(result["input_ids"], prompt["input_ids"])
            self.assertEqual(result["output_ids"], prompt["greedy_ids"][:8])
            self.assertTrue(prompt["greedy_text"].startswith(result["text"]))

    def test_text_streams_what_json_holds(self):
        arguments = ["generate", DEMO, "--prompt", "The Linux kernel is", "--quantization", "int4wo-32", *SHORT]
        result = run(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, self.succeed_json(*arguments)["text"] + "\n")
        self.assertRegex(result.stderr, r"prefill .* tokens/s")
        self.assertRegex(result.stderr, r"decode .* tokens/s")
        self.assertRegex(result.stderr, r"weights .* linears ")

    def test_seed_decides_the_sample(self):
        def sample(seed):
            return self.succeed_json("generate", DEMO, "--prompt", "The", "--temperature", "1.2", "--top-k", "50", "--top-p", "0.95", "--seed", seed,
                                     "--max-new-tokens", "16")["output_ids"]
        self.assertEqual(sample(1), sample(1))
        self.assertGreater(len({tuple(sample(seed)) for seed in (1, 2, 3)}), 1)

    def test_threads_do_not_change_the_result(self):
        results = [self.succeed_json("generate", DEMO, "--prompt", "A list", "--threads", n, *SHORT) for n in (1, 2)]
        self.assertEqual(results[0]["output_ids"], results[1]["output_ids"])
        self.assertEqual([r["threads"] for r in results], [1, 2])

    def test_several_prompts_give_what_each_gives_alone(self):
        prompts = ["The Linux kernel is", "A list", "- x"]
        alone = [self.succeed_json("generate", DEMO, f"--prompt={p}", "--dtype", "f32", *SHORT) for p in prompts]
        together = self.succeed_json("generate", DEMO, *[f"--prompt={p}" for p in prompts], "--max-batch", "2", "--dtype", "f32", *SHORT)
        for key in ("input_ids", "output_ids", "text", "finish_reason"):
            self.assertEqual([r[key] for r in together["results"]], [r[key] for r in alone])
        self.assertEqual(together["timings"]["new_tokens"], sum(len(r["output_ids"]) for r in alone))

        file = self.folder / "prompts.txt"
        file.write_bytes("\n".join(prompts).replace("list\n", "list\r\n\n").encode())
        arguments = ["generate", DEMO, "--prompts-file", file, "--dtype", "f32", *SHORT]
        self.assertEqual([r["text"] for r in self.succeed_json(*arguments)["results"]], [r["text"] for r in alone])
        result = run(*arguments)
        want = "".join(f"--- prompt {i} of 3: {len(r['input_ids'])} tokens, {len(r['output_ids'])} new ({r['finish_reason']})\n{r['text']}\n"
                       for i, r in enumerate(alone, 1))
        self.assertEqual(result.stdout, want)
        self.assertRegex(result.stderr, r"3 prompts of \d+ tokens, \d+ new tokens in .* tokens/s")

        ids = self.succeed_json("generate", DEMO, "--input-ids", "427,1711", "--input-ids", "5", *SHORT)["results"]
        self.assertEqual([r["input_ids"] for r in ids], [[427, 1711], [5]])

    def test_chat_form(self):
        result = self.succeed_json("generate", DEMO, "--prompt", "Hi", "--chat", *SHORT)
        self.assertEqual(result["input_ids"][0], 8190)

    def test_model_without_tokenizer_prints_ids(self):
        result = self.succeed_json("generate", INT8, "--input-ids", "3,4", "--ignore-eos", *SHORT)
        self.assertIsNone(result["text"])
        self.assertEqual(len(result["output_ids"]), 8)
        text = self.succeed("generate", INT8, "--input-ids", "3,4", "--ignore-eos", *SHORT)
        self.assertEqual(text, ",".join(map(str, result["output_ids"])) + "\n")

    def test_forced_kernel_and_vllm_selection(self):
        result = self.succeed_json("generate", INT8, "--input-ids", "3", "--force-kernel", "ref", "--vllm-selection", *SHORT)
        self.assertGreater(len(result["output_ids"]), 0)


class Perplexity(CliTest):
    def test_one_window(self):
        arguments = ["perplexity", DEMO, "--text", DEMO / "heldout_text.txt", "--window", "64", "--max-windows", "2"]
        result = self.succeed_json(*arguments)
        self.assertEqual((result["windows"], result["tokens"]), (2, 2 * 63))
        self.assertAlmostEqual(result["perplexity"], math.exp(result["nll_nats_per_token"]), delta=1e-6 * result["perplexity"])
        self.assertIn(f"{result['perplexity']:.4f}", self.succeed(*arguments))


class Lists(CliTest):
    def test_configs(self):
        lists = self.succeed_json("configs")
        self.assertIn("Int4WeightOnlyConfig", [c["name"] for c in lists["configs"]])
        self.assertTrue(lists["shorthands"])
        self.assertIn("Int4WeightOnlyConfig", self.succeed("configs"))

    def test_architectures(self):
        rows = {row["name"]: row for row in self.succeed_json("architectures")["architectures"]}
        self.assertEqual(rows["OPTForCausalLM"]["model_type"], "opt")
        self.assertEqual(list(rows), sorted(rows))
        text = self.succeed("architectures")
        for name, row in rows.items():
            self.assertIn(name, text)
            self.assertIn(row["runs"], text)

    def test_kernels(self):
        kernels = self.succeed_json("kernels")["kernels"]
        self.assertTrue(any(k["runs_here"] for k in kernels))
        self.assertTrue(all(k["runs_here"] or k["reason"] for k in kernels))
        self.assertIn(kernels[0]["name"], self.succeed("kernels"))

    def test_weights(self):
        lists = self.succeed_json("weights")
        classes = {c["name"]: c for c in lists["classes"]}
        self.assertEqual(classes["Int8Tensor"]["safetensors_versions"], "0.16 to 0.18")
        self.assertEqual(classes["Int8Tensor"]["bin_versions"], "0.15 to 0.18")
        self.assertIn("Int8WeightOnlyConfig", classes["Int8Tensor"]["configs"])
        self.assertFalse(classes["NF4Tensor"]["safetensors_serializable"])
        legacy = {c["name"]: c for c in lists["legacy_classes"]}
        dotted = [f"{c['module']}.{c['name']}" for c in lists["legacy_classes"]]
        self.assertEqual(legacy["QDQTensorImpl"]["becomes"], ["IntxUnpackedToInt8Tensor"])
        self.assertTrue(legacy["MarlinSparseAQTTensorImpl"]["unsupported"])
        self.assertNotIn("Int8Tensor", legacy)
        text = self.succeed("weights")
        for name in (*classes, *dotted):
            self.assertRegex(text, rf"(?m)^{name} ")
        self.assertEqual(len(dotted), len(set(dotted)))

    def test_weights_run_as_the_list_says(self):
        operations = {c["name"]: c["operations"] for c in self.succeed_json("weights")["classes"]}
        for folder in sorted(CHECKPOINTS.glob("llama*/safetensors")):
            quantized = [r for r in self.succeed_json("explain", folder)["linears"] if r["method"] == "TorchAOLinearMethod"]
            self.assertTrue(quantized, folder)
            for linear in quantized:
                for part in linear["weight_class"].split(" + "):
                    self.assertIn(linear["kernel"].split("/")[0], operations[part], folder)

    def test_version_and_help(self):
        self.assertRegex(self.succeed("--version"), r"torchao\.cpp \d+\.\d+\.\d+")
        self.assertIn("quantize", self.succeed("--help"))
        self.assertIn("--max-new-tokens", self.succeed("generate", "--help"))
        for command in ("inspect", "explain", "generate"):
            self.assertIn(".bin", self.succeed(command, "--help"))


class Logging(CliTest):
    def log_of(self, level):
        environment = {**os.environ, "TORCHAO_CPP_LOG": level}
        return run("generate", INT8, "--input-ids", "3", "--force-kernel", "ref", *SHORT, env=environment).stderr

    def test_is_quiet_unless_asked(self):
        self.assertNotIn("torchao_cpp", self.log_of(""))
        self.assertNotIn("torchao_cpp", self.log_of("off"))

    def test_info_names_configs_and_debug_names_kernels(self):
        self.assertRegex(self.log_of("info"), r"info: layer 'model\.layers\.0\.mlp\.down_proj': TorchAOLinearMethod")
        self.assertNotIn("debug", self.log_of("info"))
        self.assertIn("int8_weight_only_linear/ref", self.log_of("debug"))

    def test_unknown_level_is_named_with_the_known(self):
        self.assertIn("'loud'; expected off, error, info or debug", self.log_of("loud"))


class Fixtures(CliTest):
    def test_every_readable_fixture_is_inspected_and_run(self):
        for name in ("llama-mixed-fqn", "qwen3-int8wo-tied", "llama1-8da4w", "llama1-mxfp4"):
            folder = CHECKPOINTS / name / "safetensors"
            self.assertTrue(self.succeed_json("inspect", folder)["parameters"], name)
            self.assertTrue(self.succeed_json("explain", folder)["linears"], name)
            self.assertTrue(self.succeed_json("generate", folder, "--input-ids", "3", *SHORT)["output_ids"], name)


if __name__ == "__main__":
    unittest.main()
