# SPDX-License-Identifier: Apache-2.0
"""`torchao convert` and `torchao diff`: today's form without a change of values, and the distance of two checkpoints."""

import json
import shutil
import struct
import unittest
import xml.etree.ElementTree

from cli_runner import CHECKPOINTS, DEMO, INT8, CliTest, read_safetensors_header, run

OLD = CHECKPOINTS / "ao0.14.1-llama1-intx4-v2/safetensors"
SHARDED = CHECKPOINTS / "llama-int8wo-sharded/safetensors"
SVG = "{http://www.w3.org/2000/svg}"


def write_safetensors(path, tensors):
    """float32 tensors, name -> list of numbers."""
    header, data = {}, b""
    for name, values in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [1, len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Convert(CliTest):
    def test_form_of_torchao_014_becomes_todays(self):
        out = self.folder / "out"
        report = self.succeed_json("convert", OLD, out)
        self.assertEqual((report["to"], report["form_before"]), ("torchao-0.18", "flattened safetensors of torchao 0.14"))
        self.assertEqual(report["form_after"], "flattened safetensors")
        counts = {c["class_after"]: c["count"] for c in report["classes"]}
        self.assertEqual(counts["IntxUnpackedToInt8Tensor"], 7)
        self.assertEqual(sum(counts.values()), len(report["weights"]))
        self.assertEqual(sum(c["bytes_after"] for c in report["classes"]), report["bytes_after"])
        header = read_safetensors_header(out / "model.safetensors")
        self.assertIn("model.layers.0.self_attn.q_proj._weight_qdata", header)
        entry = json.loads(header["__metadata__"]["model.layers.0.self_attn.q_proj.weight"])
        self.assertEqual(entry["_tensor_data_names"], ["qdata", "scale", "zero_point"])
        config = json.loads((out / "config.json").read_text())["quantization_config"]
        self.assertNotIn("layout", config["quant_type"]["default"]["_data"])
        self.assertTrue(any("QDQLayout" in notice for notice in report["notices"]))
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["out"])

        ids = ["--input-ids", "1,2,3", "--max-new-tokens", "8"]
        self.assertEqual(self.succeed_json("generate", out, *ids)["output_ids"], self.succeed_json("generate", OLD, *ids)["output_ids"])
        difference = self.succeed_json("diff", OLD, out)
        self.assertEqual(difference["equal"], difference["compared"])
        self.assertEqual((difference["only_in_a"], difference["only_in_b"]), ([], []))

    def test_text_says_what_changed(self):
        text = self.succeed("convert", OLD, self.folder / "out", "--to", "torchao-0.18")
        self.assertIn("IntxUnpackedToInt8Tensor", text)
        self.assertIn("form: flattened safetensors of torchao 0.14 -> flattened safetensors\n", text)
        self.assertIn("wrote ", text)

    def test_class_in_a_bin_file_is_named(self):
        source = CHECKPOINTS / "ao0.11.0-llama1-8da4w/bin"
        stored = "LinearActivationQuantizedTensor(AffineQuantizedTensor(PlainAQTTensorImpl))"
        report = self.succeed_json("convert", source, self.folder / "json")
        self.assertEqual({(w["class_before"], w["class_after"]) for w in report["weights"]}, {(stored, "IntxUnpackedToInt8Tensor"), ("Tensor", "Tensor")})
        text = self.succeed("convert", source, self.folder / "text")
        self.assertRegex(text, r"(?m)^class .* class before$")
        self.assertRegex(text, rf"(?m)^IntxUnpackedToInt8Tensor .* the class +{stored.replace('(', '.').replace(')', '.')}$")

    def test_shards_become_one_checkpoint(self):
        report = self.succeed_json("convert", SHARDED, self.folder / "out")
        self.assertEqual({tuple(c["changes"]) for c in report["classes"]}, {()})
        self.assertEqual(report["bytes_before"], report["bytes_after"])
        self.assertEqual(sorted(p.name for p in (self.folder / "out").iterdir()), ["config.json", "model.safetensors"])

    def test_files_beside_the_weights_are_copied(self):
        self.succeed("convert", DEMO, self.folder / "out")
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            self.assertEqual((self.folder / "out" / name).read_bytes(), (DEMO / name).read_bytes())
        self.assertFalse((self.folder / "out/train.py").exists())

    def test_wrong_arguments(self):
        for arguments in (["convert"], ["convert", OLD], ["convert", OLD, self.folder / "o", "x"], ["convert", OLD, self.folder / "o", "--to", "torchao-0.17"],
                          ["convert", OLD, self.folder / "o", "--threads", "0"], ["convert", OLD, self.folder / "o", "--frobnicate"]):
            with self.subTest(arguments=arguments):
                self.assert_fails(2, "", *arguments)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_missing_folder_and_taken_destination(self):
        self.assert_fails(1, "absent", "convert", self.folder / "absent", self.folder / "out")
        self.assert_fails(1, "is no folder", "convert", OLD / "model.safetensors", self.folder / "out")
        self.assertEqual(list(self.folder.iterdir()), [])
        taken = self.folder / "taken"
        taken.mkdir()
        self.assert_fails(1, "exists already", "convert", OLD, taken)
        self.assert_fails(1, "no folder can be made there", "convert", OLD, self.folder / "absent/out")
        self.assertEqual(list(taken.iterdir()), [])

    def test_a_broken_weight_leaves_nothing(self):
        source = self.folder / "source"
        shutil.copytree(INT8, source)
        text = (source / "model.safetensors").read_bytes()
        (source / "model.safetensors").write_bytes(text.replace(b'\\"block_size\\": [1, 64]', b'\\"block_size\\": [1, 63]'))
        result = run("convert", source, self.folder / "out")
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["source"])


class Diff(CliTest):
    def quantized_demo(self, config):
        folder = self.folder / config
        self.succeed("quantize", DEMO, folder, "--quantization", config)
        return folder

    def test_worst_weights_come_first(self):
        report = self.succeed_json("diff", DEMO, self.quantized_demo("int8wo"))
        self.assertEqual(report["common"], report["compared"])
        self.assertEqual(report["compared"] - report["equal"], 56)
        differing = [w for w in report["weights"] if not w["is_equal"]]
        values = [w["sqnr_db"] for w in differing]
        self.assertEqual(values, sorted(values))
        self.assertEqual(report["weights"][:56], differing)
        self.assertTrue(all(30 < v < 50 for v in values), values)
        self.assertEqual({(w["class_a"], w["class_b"], w["dtype_b"]) for w in differing}, {("Tensor", "Int8Tensor", "bfloat16")})
        self.assertTrue(all(w["sqnr_db"] is None and w["max_abs_error"] == 0 for w in report["weights"][56:]))

    def test_limit_shortens_the_table_only(self):
        other = self.quantized_demo("int4wo-32")
        text = self.succeed("diff", DEMO, other, "--limit", "3")
        self.assertEqual(text.count("Int4Tensor"), 3)
        self.assertRegex(text, r"and \d+ more")
        self.assertIn("of these differing: 56;", text)
        whole, short = self.succeed_json("diff", DEMO, other), self.succeed_json("diff", DEMO, other, "--limit", "3")
        self.assertEqual(short["weights"], whole["weights"][:3])
        self.assertEqual(short["total"], whole["total"])

    def test_threads_do_not_matter(self):
        other = self.quantized_demo("int8wo")
        reports = [self.succeed_json("diff", DEMO, other, "--threads", str(n)) for n in (1, 2, 3)]
        self.assertEqual(reports[0], reports[1])
        self.assertEqual(reports[0], reports[2])

    def test_equal_checkpoints(self):
        text = self.succeed("diff", INT8, INT8)
        self.assertIn("SQNR inf dB", text)
        self.assertIn("only in A: 0; only in B: 0", text)
        self.assertEqual(self.succeed_json("diff", INT8, INT8)["total"]["is_equal"], True)

    def test_plot_is_xml_with_a_line_for_each_projection(self):
        plot = self.folder / "p.svg"
        self.succeed("diff", DEMO, self.quantized_demo("int4wo-32"), "--plot", plot)
        root = xml.etree.ElementTree.parse(plot).getroot()
        self.assertEqual((root.tag, root.get("width"), root.get("height")), (SVG + "svg", "1200", "600"))
        texts = [element.text for element in root.iter(SVG + "text")]
        for name in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "layer", "0", "7"):
            self.assertIn(name, texts)
        self.assertEqual(len(list(root.iter(SVG + "path"))), 7)
        self.assertNotIn("href", plot.read_text())

    def test_hostile_names_are_escaped(self):
        name = "layers.0.<a href='x'>&\"\x1b[31m.weight"
        for file, values in (("a", [1, 2]), ("b", [1, 3])):
            write_safetensors(self.folder / file, {name: values, "<b>&": [float("nan"), 1]})
        result = run("diff", self.folder / "a", self.folder / "b", "--plot", self.folder / "p.svg")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("\x1b", result.stdout + result.stderr)
        root = xml.etree.ElementTree.parse(self.folder / "p.svg").getroot()
        self.assertTrue(any((element.text or "").startswith("<a href") for element in root.iter(SVG + "text")))

    def test_what_is_not_finite_is_reported(self):
        inf, nan = float("inf"), float("nan")
        write_safetensors(self.folder / "a", {"x.weight": [1, inf, nan], "y.weight": [0, 0]})
        write_safetensors(self.folder / "b", {"x.weight": [1, inf, 2], "y.weight": [0, 1]})
        report = self.succeed_json("diff", self.folder / "a", self.folder / "b", "--plot", self.folder / "p.svg")
        x, y = report["weights"]
        self.assertEqual((x["fqn"], x["sqnr_db"], x["nonfinite_a"], x["nonfinite_b"], x["nonfinite_differing"]), ("x.weight", None, 2, 1, 1))
        self.assertEqual((y["sqnr_db"], y["is_equal"], y["max_abs_error"]), (None, False, 1))
        text = self.succeed("diff", self.folder / "a", self.folder / "b")
        self.assertIn("not finite: 2 in A, 1 in B, 1 differ", text)
        self.assertIn("-inf", text)
        self.assertIn("nan", text)

    def test_names_and_shapes_that_do_not_meet(self):
        write_safetensors(self.folder / "a", {"x": [1], "s": [1, 2], "q_proj": [1]})
        write_safetensors(self.folder / "b", {"x": [1], "s": [1, 2, 3], "qkv_proj": [1]})
        text = self.succeed("diff", self.folder / "a", self.folder / "b")
        for line in ("only in A: q_proj", "only in B: qkv_proj", "shape [1, 2] in A, [1, 3] in B"):
            self.assertIn(line, text)

    def test_errors(self):
        write_safetensors(self.folder / "a", {"x": [1]})
        write_safetensors(self.folder / "b", {"y": [1]})
        self.assert_fails(1, "no weight has the same name", "diff", self.folder / "a", self.folder / "b")
        self.assert_fails(1, "absent", "diff", DEMO, self.folder / "absent")
        self.assert_fails(1, "absent", "diff", self.folder / "absent", DEMO)
        self.assert_fails(1, "its folder does not exist", "diff", INT8, INT8, "--plot", self.folder / "absent/p.svg")
        self.assert_fails(1, "is a folder", "diff", INT8, INT8, "--plot", self.folder)

    def test_wrong_arguments(self):
        for arguments in (["diff"], ["diff", INT8], ["diff", INT8, INT8, INT8], ["diff", INT8, INT8, "--limit", "0"], ["diff", INT8, INT8, "--limit", "x"],
                          ["diff", INT8, INT8, "--plot"], ["diff", INT8, INT8, "--threads", "0"]):
            with self.subTest(arguments=arguments):
                self.assert_fails(2, "", *arguments)


if __name__ == "__main__":
    unittest.main()
