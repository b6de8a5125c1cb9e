# SPDX-License-Identifier: Apache-2.0
"""Engines in processes of their own that take turns, so that all of one turn see the same speed of the machine.

An engine's process loads its model, warms up and prints "RESULT " with a number; then it reads requests, one a line, and
answers each with such a line: "decode BATCH SALT" (tokens a second of BATCH sequences together), "prefill TOKENS SALT"
(tokens a second of one prompt). SALT, the number of the turn, makes prompts differ.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time

DECODE_PROMPT_TOKENS = 16


def prompt_ids(length, row, salt, vocabulary):
    return [(salt * 7919 + row * 101 + i * 31) % (vocabulary - 10) for i in range(length)]


def rates(run, decode_tokens):
    """Both answers from run(batch, prompt tokens, new tokens, salt), which gives seconds."""

    def decode(batch, salt):
        first = run(batch, DECODE_PROMPT_TOKENS, 1, salt)
        return batch * (decode_tokens - 1) / (run(batch, DECODE_PROMPT_TOKENS, decode_tokens, salt) - first)

    return {"decode": decode, "prefill": lambda tokens, salt: tokens / run(1, tokens, 1, salt)}


def serve(answers, answer):
    """The loop of an engine's process; answers: {word: function of whole numbers}, answer: the first one."""
    while True:
        print("RESULT " + json.dumps(answer), flush=True)
        request = sys.stdin.readline().split()
        if not request:
            return
        answer = answers[request[0]](*map(int, request[1:]))


class Engine:
    """One engine in its process; `problem` says why there is none."""

    def __init__(self, name, config, command, environment=None):
        self.name, self.config, self.problem = name, config, None
        self.rates = {}
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.load_seconds = self.answer()

    def answer(self):
        lines = []
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))
            lines.append(line)
        self.errors.seek(0)
        problems = [line for line in [*lines, *self.errors] if "Error" in line]
        self.problem = problems[0].strip() if problems else f"exit {self.process.wait()}"
        return None

    def measure(self, what, salt):
        if self.problem is not None:
            return
        print(what, salt, file=self.process.stdin, flush=True)
        rate = self.answer()
        if rate is not None:
            self.rates.setdefault(what, []).append(rate)

    def end(self):
        self.process.stdin.close()
        self.process.wait()

    def result(self):
        """{"decode_8": median, ..., "load_seconds": s}, or None where there is a problem."""
        if self.problem is not None:
            return None
        medians = {what.replace(" ", "_"): statistics.median(rates) for what, rates in self.rates.items()}
        return medians | {"load_seconds": self.load_seconds}


def take_turns(engines, requests, repeats, pause_seconds=0.0):
    """`pause_seconds` before each request: threads of the engine before stop polling."""
    for salt in range(repeats):
        for what in requests:
            for engine in engines:
                time.sleep(pause_seconds)
                engine.measure(what, salt)
