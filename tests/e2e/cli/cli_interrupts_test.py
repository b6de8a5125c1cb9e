# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C: the first one ends the work cleanly, with exit status 130."""

import signal
import subprocess
import time
import unittest

from cli_runner import DEMO, PROGRAM, TIMEOUT_SECONDS, CliTest

INTERRUPTED = 130


def start(*arguments):
    return subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Interrupts(CliTest):
    def assert_whole_or_nothing(self, *arguments, source=DEMO):
        """Interrupts the command at ever later moments, until it is done before; `arguments` lack source and destination."""
        begin = time.monotonic()
        self.succeed(arguments[0], source, self.folder / "whole", *arguments[1:])
        step = (time.monotonic() - begin) / 12
        names = sorted(p.name for p in (self.folder / "whole").iterdir())
        interrupted = 0
        for attempt in range(60):
            destination = self.folder / f"d{attempt}"
            process = start(arguments[0], source, destination, *arguments[1:])
            # The temporary folder is there from the first moment that counts.
            while process.poll() is None and not any(self.folder.glob(f"*d{attempt}*")):
                time.sleep(0.0005)
            time.sleep(attempt * step)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
            if process.returncode == 0:
                self.assertEqual(sorted(p.name for p in destination.iterdir()), names)
                if interrupted:
                    return
            else:
                self.assertEqual(process.returncode, INTERRUPTED, errors)
                self.assertEqual(list(self.folder.glob(f"*d{attempt}*")), [])
                self.assertEqual(len(errors.splitlines()), 1, errors)
                interrupted += 1
        self.fail(f"{interrupted} interrupts, but none came too late" if interrupted else "the command was always faster than the signal")

    def test_quantize_leaves_nothing(self):
        self.assert_whole_or_nothing("quantize", "--quantization", "int4wo-32", "--threads", "1")

    def test_convert_leaves_nothing(self):
        self.assert_whole_or_nothing("convert", "--threads", "1")

    def test_make_model_leaves_nothing(self):
        self.assert_whole_or_nothing("make-model", "--threads", "1", source=DEMO / "config.json")

    def test_generate_prints_its_summary(self):
        process = start("generate", DEMO, "--prompt", "The Linux kernel is", "--max-new-tokens", "1000", "--ignore-eos")
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        self.assertEqual(process.returncode, INTERRUPTED, errors)
        self.assertTrue((first + text).endswith("\n"))
        self.assertIn("tokens/s (cancelled)", errors)

    def test_perplexity_stops(self):
        process = start("perplexity", DEMO, "--text", DEMO / "heldout_text.txt", "--window", "256")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        self.assertEqual((process.returncode, text, errors), (INTERRUPTED, "", "torchao: interrupted\n"))


if __name__ == "__main__":
    unittest.main()
