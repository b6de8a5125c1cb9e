#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps the tables of README.md and docs/ equal to what the command prints.

A table stands between the lines "<!-- table: NAME -->" and "<!-- end of table -->". NAME is one of
architectures, configs, shorthands, devices, kernels, weights, legacy_weights and unread_weights.

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


def configs_table(listings):
    return markdown(["config", "version", "what it does", "quantizes here"],
                    [[f"`{c['name']}`", str(c["version"]), c["summary"], "yes" if c["quantizes"] else c["unsupported"]]
                     for c in listings["configs"]["configs"]])


def shorthands_table(listings):
    return markdown(["shorthand", "meaning"], [[f"`{s['pattern']}`", s["meaning"]] for s in listings["configs"]["shorthands"]])


def devices_table(listings):
    return markdown(["config", "what it does", "CPU"],
                    [[f"`{c['name']}`", c["summary"], "yes"] for c in listings["configs"]["configs"] if c["quantizes"]])


def kernels_table(listings):
    isas = {}
    for kernel in listings["kernels"]["kernels"]:
        isas.setdefault(kernel["operation"], []).append(kernel["isa"])
    return markdown(["operation", "kernels, fastest first"], [[f"`{o}`", ", ".join(names)] for o, names in isas.items()])


def code_list(names):
    return ", ".join(f"`{name}`" for name in names)


def weights_table(listings):
    rows = []
    for c in listings["weights"]["classes"]:
        written = "yes" if c["safetensors_serializable"] else "for torchao.cpp alone" if c["configs"] else "no"
        run = code_list(operation.removesuffix("_linear") for operation in c["operations"]) or f"no: {c['not_run']}"
        rows.append([f"`{c['name']}`", c["safetensors_versions"] or "no", c["bin_versions"] or "no", code_list(c["configs"]) or "no", run, written])
    return markdown(["class", "read: safetensors of torchao", "read: `.bin` of torchao", "quantize: configs that make it", "run: operations on the CPU",
                     "write: safetensors that torchao 0.18 loads"], rows)


def dotted(c):
    return f"`{c['module']}.{c['name']}`"


def legacy_weights_table(listings):
    return markdown(["class", "read: `.bin` of torchao", "becomes"],
                    [[dotted(c), c["versions"], " or ".join(f"`{name}`" for name in c["becomes"]) or f"adds {c['adds']}"]
                     for c in listings["weights"]["legacy_classes"] if not c["unsupported"]])


def unread_weights_table(listings):
    return markdown(["class", "in `.bin` of torchao", "not read, since it holds"],
                    [[dotted(c), c["versions"], c["unsupported"]] for c in listings["weights"]["legacy_classes"] if c["unsupported"]])


def architectures_table(listings):
    return markdown(["architecture", "`model_type`", "what of it runs, beyond the form that all share"],
                    [[f"`{a['name']}`", f"`{a['model_type']}`", a["runs"]] for a in listings["architectures"]["architectures"]])


MAKERS = {"architectures": architectures_table, "configs": configs_table, "shorthands": shorthands_table,
          "devices": devices_table, "kernels": kernels_table, "weights": weights_table,
          "legacy_weights": legacy_weights_table, "unread_weights": unread_weights_table}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("torchao")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    listings = {command: listing(arguments.torchao, command) for command in ("architectures", "configs", "kernels", "weights")}
    differing = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        before = path.read_text(encoding="utf-8")
        after = TABLE.sub(lambda m: m.group(1) + MAKERS[m.group(2)](listings) + m.group(3), before)
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
