# SPDX-License-Identifier: Apache-2.0
"""`torchao make-model`: random weights for a config.json, in a folder that the other commands take."""

import json
import resource
import unittest

from cli_runner import DEMO, CliTest, read_safetensors_header, run

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 128,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}
IDS = ("--input-ids", "1,2,3", "--max-new-tokens", "4")


class MakeModel(CliTest):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "c.json"
        self.config.write_text(json.dumps(CONFIG))

    def test_model_runs_plain_and_quantized(self):
        report = self.succeed_json("make-model", self.config, self.folder / "m", "--seed", "5")
        header = read_safetensors_header(self.folder / "m/model.safetensors")
        self.assertEqual(report["tensors"], len(header) - 1)
        self.assertEqual(header["model.layers.1.self_attn.q_norm.weight"]["shape"], [32])
        self.assertEqual({t["dtype"] for n, t in header.items() if n != "__metadata__"}, {"BF16"})
        self.assertEqual(len(self.succeed_json("generate", self.folder / "m", *IDS)["output_ids"]), 4)
        self.succeed("quantize", self.folder / "m", self.folder / "q", "-q", "int8wo")
        on_the_fly = self.succeed_json("generate", self.folder / "m", "-q", "int8wo", *IDS)["output_ids"]
        self.assertEqual(self.succeed_json("generate", self.folder / "q", *IDS)["output_ids"], on_the_fly)

    def test_seed_decides_and_threads_do_not(self):
        for name, arguments in {"a": ["--seed", "5"], "b": ["--seed", "5", "--threads", "1"], "c": ["--seed", "6"]}.items():
            self.succeed("make-model", self.config, self.folder / name, *arguments)
        weights = [(self.folder / name / "model.safetensors").read_bytes() for name in "abc"]
        self.assertEqual(weights[0], weights[1])
        self.assertNotEqual(weights[0], weights[2])

    def test_dtype_and_shards(self):
        text = self.succeed("make-model", self.config, self.folder / "m", "--dtype", "f32", "--shard-size", "300KB")
        self.assertRegex(text, r"wrote .*/m: 361,216 parameters in \d+ tensors, float32, 1\.4 MiB\n")
        index = json.loads((self.folder / "m/model.safetensors.index.json").read_text())
        shards = set(index["weight_map"].values())
        self.assertGreater(len(shards), 3)
        for shard in shards:
            self.assertLess((self.folder / "m" / shard).stat().st_size, 310_000)
        self.assertEqual(json.loads((self.folder / "m/config.json").read_text())["torch_dtype"], "float32")
        self.succeed("generate", self.folder / "m", *IDS)

    def test_tokenizer_beside_the_config_is_taken(self):
        self.succeed("make-model", DEMO / "config.json", self.folder / "m", "--dtype", "bf16")
        self.assertEqual((self.folder / "m/tokenizer.json").read_bytes(), (DEMO / "tokenizer.json").read_bytes())
        self.succeed("generate", self.folder / "m", "--prompt", "The Linux kernel", "--max-new-tokens", "4")

    def test_wrong_arguments(self):
        for arguments in ([self.config], [self.config, self.folder / "o", "--seed", "x"], [self.config, self.folder / "o", "--dtype", "int8"],
                          [self.config, self.folder / "o", "--shard-size", "0"], [self.config, self.folder / "o", "--shard-size", "5 parsecs"]):
            with self.subTest(arguments=arguments):
                self.assert_fails(2, "", "make-model", *arguments)
        self.assert_fails(1, "exists already", "make-model", self.config, self.folder)
        self.assert_fails(1, "absent.json", "make-model", self.folder / "absent.json", self.folder / "o")
        self.config.write_text(json.dumps({**CONFIG, "hidden_act": "gelu"}))
        self.assert_fails(1, "hidden_act is 'gelu'", "make-model", self.config, self.folder / "o")
        self.assertEqual([p.name for p in self.folder.iterdir()], ["c.json"])

    def test_full_disk_leaves_nothing(self):
        limit = 400_000  # bytes a file may have: less than the weights
        result = run("make-model", self.config, self.folder / "o",
                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("model.safetensors: cannot be written", result.stderr)
        self.assertEqual([p.name for p in self.folder.iterdir()], ["c.json"])


if __name__ == "__main__":
    unittest.main()
