# SPDX-License-Identifier: Apache-2.0
"""Runs the command `torchao` for the tests of this folder."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["TORCHAO"]
SOURCE = pathlib.Path(os.environ["TORCHAO_CPP_SOURCE"])
DEMO = SOURCE / "models/demo"
CHECKPOINTS = SOURCE / "tests/data/checkpoints"
INT8 = CHECKPOINTS / "llama1-int8wo/safetensors"
TIMEOUT_SECONDS = 300


def run(*arguments, **options):
    """Runs the command to its end; text in and out, exit status in returncode."""
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, **options)


def read_safetensors_header(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))


class CliTest(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="torchao_cli_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def succeed(self, *arguments, **options):
        """Runs the command and expects exit status 0; returns what it printed."""
        result = run(*arguments, **options)
        self.assertEqual(result.returncode, 0, f"torchao {' '.join(map(str, arguments))}\n{result.stderr}")
        return result.stdout

    def succeed_json(self, *arguments, **options):
        return json.loads(self.succeed(*arguments, "--json", **options))

    def assert_fails(self, status, phrase, *arguments, **options):
        """Expects one line on standard error that starts with the program's name and holds the phrase."""
        result = run(*arguments, **options)
        self.assertEqual(result.returncode, status, f"torchao {' '.join(map(str, arguments))}\n{result.stdout}\n{result.stderr}")
        lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith("torchao: "), result.stderr)
        self.assertIn(phrase, lines[0])
        self.assertEqual(result.stdout, "")
