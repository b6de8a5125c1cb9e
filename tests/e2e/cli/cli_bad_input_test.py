# SPDX-License-Identifier: Apache-2.0
"""What a user can get wrong: one line that says so; exit status 1, or 2 for wrong arguments."""

import json
import os
import resource
import shutil
import signal
import subprocess
import unittest

from cli_runner import CHECKPOINTS, DEMO, INT8, PROGRAM, TIMEOUT_SECONDS, CliTest, run

HOSTILE_NAME = "a\x1b[31m"


def at_most(limit):
    """For preexec_fn: no file grows beyond `limit` bytes, as if the disk was full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


class WrongArguments(CliTest):
    def test_exit_status_is_two(self):
        output = self.folder / "out"
        for arguments in (
                [], ["frobnicate"], ["inspect"], ["inspect", DEMO, "--frobnicate"], ["inspect", DEMO, "extra"], ["quantize", DEMO, output],
                ["logits", DEMO, "--output", output], ["logits", DEMO, "--input-ids", "1,x", "--output", output],
                ["logits", DEMO, "--input-ids", "", "--output", output], ["logits", DEMO, "--input-ids", "1,,2", "--output", output],
                ["logits", DEMO, "--input-ids", "99999999999", "--output", output],
                ["generate", DEMO], ["generate", DEMO, "--prompt", "a", "--input-ids", "1"], ["generate", DEMO, "--input-ids", "1", "--chat"],
                ["bench"], ["bench", "linear", "--shapes", "12"], ["bench", "linear", "--shapes", "0x4"], ["bench", "linear", "--m", "0"],
                ["bench", "linear", "--shapes", "8x8x8"], ["bench", "quantize"], ["bench", "quantize", DEMO, "--shapes", "8x8"],
                ["bench", "model"], ["bench", "model", DEMO, "--batch", "0"], ["bench", "model", DEMO, "--decode-tokens", "0"],
                ["generate", DEMO, "--prompt", "a", "--prompts-file", "b"], ["generate", DEMO, "--prompt", "a", "--max-batch", "0"],
                ["generate", DEMO, "--prompt", "a", "--temperature", "-1"], ["generate", DEMO, "--prompt", "a", "--temperature", "nan"],
                ["generate", DEMO, "--prompt", "a", "--top-p", "0"], ["generate", DEMO, "--prompt", "a", "--top-k", "-1"],
                ["generate", DEMO, "--prompt", "a", "--max-new-tokens", "0"], ["generate", DEMO, "--prompt", "a", "--seed", "x"],
                ["generate", DEMO, "--prompt", "a", "--dtype", "int8"], ["generate", DEMO, "--prompt", "a", "--threads", "0"],
                ["generate", DEMO, "--prompt", "a", "--skip", "mlp"], ["perplexity", DEMO], ["perplexity", DEMO, "--text", "x", "--window", "1"]):
            with self.subTest(arguments=arguments):
                self.assert_fails(2, "", *arguments)
        self.assertFalse(output.exists())


class MissingFiles(CliTest):
    def test_absent_folder(self):
        absent = self.folder / "absent"
        for arguments in (["inspect", absent], ["explain", absent], ["quantize", absent, self.folder / "d", "-q", "int8wo"],
                          ["dequantize", absent, self.folder / "d"], ["logits", absent, "--input-ids", "1", "--output", self.folder / "l"],
                          ["generate", absent, "--prompt", "a"], ["generate", absent, "--input-ids", "1"],
                          ["perplexity", absent, "--text", DEMO / "heldout_text.txt"]):
            with self.subTest(arguments=arguments):
                self.assert_fails(1, "absent", *arguments)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_absent_shard(self):
        model = self.folder / "model"
        shutil.copytree(DEMO, model)
        (model / "model-00002-of-00003.safetensors").unlink()
        self.assert_fails(1, "model-00002-of-00003.safetensors", "inspect", model)

    def test_absent_text(self):
        self.assert_fails(1, "absent.txt", "perplexity", DEMO, "--text", self.folder / "absent.txt")
        self.assert_fails(1, "folder", "perplexity", DEMO, "--text", self.folder)

    def test_unreadable_tokenizer(self):
        model = self.folder / "model"
        shutil.copytree(DEMO, model)
        (model / "tokenizer.json").write_text("{")
        self.assert_fails(1, "tokenizer.json", "generate", model, "--prompt", "a")
        result = run("generate", model, "--input-ids", "427", "--max-new-tokens", "2", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIsNone(json.loads(result.stdout)["text"])
        self.assertIn("note: only ids are shown", result.stderr)
        (model / "tokenizer.json").unlink()
        self.assert_fails(1, "tokenizer.json", "generate", model, "--prompt", "a")

    def test_names_with_control_characters_do_not_reach_the_terminal(self):
        result = run("inspect", self.folder / HOSTILE_NAME)
        self.assertEqual(result.returncode, 1)
        self.assertNotIn("\x1b", result.stderr)


class WrongConfigs(CliTest):
    def test_unknown_config(self):
        for config in ("int8woo", "int99wo", '{"_type": "NoSuchConfig", "_data": {}}', "{", str(self.folder / "absent.json")):
            with self.subTest(config=config):
                self.assert_fails(1, "", "explain", DEMO, "--quantization", config)
                self.assert_fails(1, "", "quantize", DEMO, self.folder / "d", "--quantization", config)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_already_quantized_source(self):
        self.assert_fails(1, "already quantized", "quantize", INT8, self.folder / "d", "--quantization", "int8wo")

    def test_unknown_kernel(self):
        self.assert_fails(1, "no_such_kernel", "generate", INT8, "--input-ids", "1", "--force-kernel", "no_such_kernel")


class WrongPrompts(CliTest):
    def test_empty(self):
        self.assert_fails(1, "empty", "generate", DEMO, "--prompt", "")
        self.assert_fails(1, "empty", "generate", DEMO, "--prompt", "a", "--prompt", "")
        self.assert_fails(1, "No such file", "generate", DEMO, "--prompts-file", self.folder / "absent")
        (self.folder / "lines").write_text("\n\n")
        self.assert_fails(1, "no line holds a prompt", "generate", DEMO, "--prompts-file", self.folder / "lines")

    def test_ids_out_of_range(self):
        for ids in ("8192", "-1", "1,2,2147483647"):
            self.assert_fails(1, "outside the vocabulary", "generate", DEMO, f"--input-ids={ids}")
            self.assert_fails(1, "outside the vocabulary", "logits", DEMO, f"--input-ids={ids}", "--output", self.folder / "l")

    def test_longer_than_the_context(self):
        length = json.loads((DEMO / "config.json").read_text())["max_position_embeddings"]
        self.assert_fails(1, f"at most {length}", "generate", DEMO, "--input-ids", ",".join(["5"] * (length + 1)))
        self.assert_fails(1, f"at most {length}", "logits", DEMO, "--input-ids", ",".join(["5"] * (length + 1)), "--output", self.folder / "l")

    def test_text_shorter_than_a_window(self):
        (self.folder / "t").write_text("short")
        self.assert_fails(1, "fewer than one window", "perplexity", DEMO, "--text", self.folder / "t")
        (self.folder / "t").write_text("")
        self.assert_fails(1, "", "perplexity", DEMO, "--text", self.folder / "t")


class Destinations(CliTest):
    def test_existing_destination_is_left_alone(self):
        existing = self.folder / "d"
        existing.mkdir()
        (existing / "keep").write_text("mine")
        self.assert_fails(1, "exists", "quantize", DEMO, existing, "--quantization", "int8wo")
        self.assert_fails(1, "exists", "dequantize", INT8, existing)
        self.assertEqual([p.name for p in existing.iterdir()], ["keep"])

    def test_absent_parent(self):
        self.assert_fails(1, "absent", "dequantize", INT8, self.folder / "absent/d")
        self.assert_fails(1, "absent", "logits", INT8, "--input-ids", "1", "--output", self.folder / "absent/l")

    def test_full_disk_leaves_nothing(self):
        # Files may not grow beyond a limit: that of config.json, of tokenizer.json or of the weights is met first.
        bin_model = CHECKPOINTS / "ao0.11.0-llama1-8da4w/bin"
        for arguments, limits in ((["quantize", DEMO, self.folder / "d", "--quantization", "int8wo"], (0, 100, 100_000, 1 << 20)),
                                  (["convert", DEMO, self.folder / "d"], (0, 100, 100_000, 1 << 20)),
                                  (["convert", bin_model, self.folder / "d"], (0, 100, 10_000)),
                                  (["logits", DEMO, "--input-ids", ",".join(["5"] * 100), "--output", self.folder / "d"], (0, 1 << 20))):
            for limit in limits:
                with self.subTest(arguments=arguments, limit=limit):
                    self.assert_fails(1, "File too large", *arguments, preexec_fn=at_most(limit))
                    self.assertEqual(list(self.folder.iterdir()), [])

    def test_full_disk_keeps_the_old_file(self):
        old = self.folder / "l"
        old.write_text("mine")
        self.assert_fails(1, "File too large", "logits", DEMO, "--input-ids", "1,2,3", "--output", old, preexec_fn=at_most(1000))
        self.assertEqual([p.name for p in self.folder.iterdir()], ["l"])
        self.assertEqual(old.read_text(), "mine")


class StandardOutput(CliTest):
    def test_full_device(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([PROGRAM, "inspect", DEMO], stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stderr.startswith("torchao: standard output"), result.stderr)

    def test_closed_pipe_is_quiet(self):
        for arguments in (["inspect", DEMO], ["generate", DEMO, "--prompt", "The", "--max-new-tokens", "8"]):
            reader, writer = os.pipe()
            os.close(reader)
            result = subprocess.run([PROGRAM, *map(str, arguments)], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS, check=False)
            os.close(writer)
            self.assertEqual((result.returncode, result.stderr), (128 + signal.SIGPIPE, ""))


if __name__ == "__main__":
    unittest.main()
