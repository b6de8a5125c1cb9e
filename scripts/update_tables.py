#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps the tables of README.md and docs/ equal to what the command prints.

A table stands between the lines "<!-- table: NAME -->" and "<!-- end of table -->". NAME is one of configs, shorthands,
devices and kernels.

usage: update_tables.py TORCHAO [--check]

TORCHAO is the built command. --check changes nothing and exits 1 when a file differs.
"""
import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def listing(torchao, command):
    return json.loads(subprocess.run([torchao, command, "--json"], check=True, capture_output=True, text=True).stdout)


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def configs_table(configs, _kernels):
    return markdown(["config", "version", "what it does", "quantizes here"],
                    [[f"`{c['name']}`", str(c["version"]), c["summary"], "yes" if c["quantizes"] else c["unsupported"]]
                     for c in configs["configs"]])


def shorthands_table(configs, _kernels):
    return markdown(["shorthand", "meaning"], [[f"`{s['pattern']}`", s["meaning"]] for s in configs["shorthands"]])


def devices_table(configs, _kernels):
    return markdown(["config", "what it does", "CPU"],
                    [[f"`{c['name']}`", c["summary"], "yes"] for c in configs["configs"] if c["quantizes"]])


def kernels_table(_configs, kernels):
    isas = {}
    for kernel in kernels["kernels"]:
        isas.setdefault(kernel["operation"], []).append(kernel["isa"])
    return markdown(["operation", "kernels, fastest first"], [[f"`{o}`", ", ".join(names)] for o, names in isas.items()])


MAKERS = {"configs": configs_table, "shorthands": shorthands_table, "devices": devices_table, "kernels": kernels_table}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("torchao")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    configs = listing(arguments.torchao, "configs")
    kernels = listing(arguments.torchao, "kernels")
    differing = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        before = path.read_text(encoding="utf-8")
        after = TABLE.sub(lambda m: m.group(1) + MAKERS[m.group(2)](configs, kernels) + m.group(3), before)
        if after == before:
            continue
        differing.append(path.relative_to(ROOT).as_posix())
        if not arguments.check:
            path.write_text(after, encoding="utf-8")
    if arguments.check and differing:
        print(f"{', '.join(differing)}: tables differ from what the command prints; run scripts/update_tables.py")
        return 1
    print(f"update_tables: {'changed ' + ', '.join(differing) if differing else 'all tables are up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
