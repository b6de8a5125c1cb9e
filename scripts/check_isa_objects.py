#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that objects compiled for one instruction set share nothing that the linker could merge.

usage: check_isa_objects.py [--nm NM] --sources SOURCE... --objects OBJECT...

An inline function that two objects hold is kept once, and the copy that stays may be the one that other machines cannot
run. So the globals in the object of each SOURCE (folder/name_ISA.cpp) are functions of torchao_cpp whose names say for which
instruction set they are, such as torchao_cpp::name_ISA_functions(), one at least; everything else in it is local. OBJECTs of other sources are passed over. Prints one line a problem and exits 1 when
there is any. Needs nothing but Python 3.9 and nm.
"""
import argparse
import re
import subprocess
import sys
from pathlib import PurePosixPath

# What nm's letters mean, as far as others can see such a symbol; small letters but these are local.
MERGEABLE = {"W": "weak", "V": "weak", "u": "unique"}


# Longer names first: one may begin another.
ISAS = ("avx512_vnni", "avx512_bf16", "avx512", "avx2", "amx", "neon_dotprod", "neon_i8mm", "neon")


def isa_of(source):
    stem = PurePosixPath(source).stem
    for isa in ISAS:
        if stem.endswith("_" + isa):
            return isa
    raise SystemExit(f"check_isa_objects: {source}: expected a name that ends in one of {', '.join(ISAS)}")


def is_entry(letter, symbol, isa):
    return letter == "T" and re.fullmatch(rf"torchao_cpp::\w+_{isa}(_functions)?\(.*\)", symbol) is not None


def problems_of(name, source, symbols):
    """symbols: (letter of nm, demangled name) of each symbol that the object defines."""
    problems = []
    isa = isa_of(source)
    expected = f"torchao_cpp::..._{isa}() or torchao_cpp::..._{isa}_functions()"
    for letter, symbol in symbols:
        if letter in MERGEABLE:
            problems.append(f"{name}: '{symbol}' is {MERGEABLE[letter]}; expected nothing that the linker may merge")
        elif letter.isupper() and not is_entry(letter, symbol, isa):
            problems.append(f"{name}: '{symbol}' is global; expected only {expected}")
    if not any(is_entry(letter, symbol, isa) for letter, symbol in symbols):
        problems.append(f"{name}: has no {expected}")
    return problems


def defined_symbols(nm, path):
    out = subprocess.run([nm, "--demangle", "--defined-only", path], check=True, capture_output=True, text=True).stdout
    # "<address> <letter> <name>"; a name may hold spaces.
    lines = [line.split(None, 2) for line in out.splitlines()]
    return [(line[1], line[2]) for line in lines if len(line) == 3]


def object_of(source, objects):
    """The one object of a source: CMake calls it .../<source>.o."""
    return [path for path in objects if PurePosixPath(path).as_posix().endswith(f"/{source}.o")]


def main():
    parser = argparse.ArgumentParser(usage="%(prog)s [--nm NM] --sources SOURCE... --objects OBJECT...")
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--sources", nargs="+", required=True)
    parser.add_argument("--objects", nargs="+", required=True)
    args = parser.parse_args()
    problems = []
    for source in args.sources:
        found = object_of(source, args.objects)
        if len(found) != 1:
            problems.append(f"{source}: {len(found)} of the objects are its; expected one")
            continue
        try:
            problems += problems_of(found[0], source, defined_symbols(args.nm, found[0]))
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip()
            problems.append(f"{found[0]}: {args.nm} does not read it ({said})")
    for problem in problems:
        print(problem)
    if not problems:
        print(f"check_isa_objects: {len(args.sources)} objects share nothing")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
