#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the structure of the sources: who includes whom, what is registered, how long files are.

usage: check_includes.py [--root FOLDER] [--table]

Prints one line a problem and exits 1 when there is any. --table prints the include table as docs/architecture.md
shows it. Needs nothing but Python 3.9.
"""
import argparse
import re
import sys
from pathlib import Path

# folder of src/ -> folders of src/ it may include besides itself; from bottom to top.
ALLOWED = {
    "base": [],
    "core": ["base"],
    "io": ["base", "core"],
    "config": ["base", "core"],
    "workflows": ["base", "core", "config"],
    "selection": ["base", "core", "config", "workflows"],
    "kernels": ["base", "core"],
    "linear": ["base", "core", "config", "selection", "workflows", "kernels"],
    "models": ["base", "core", "io", "selection", "kernels", "linear"],
    "engine": ["base", "core", "models"],
    "bench": ["base", "core", "io", "config", "workflows", "kernels", "linear", "models", "engine"],
}

# Public header -> the folder(s) of src/ that it counts to. llm.h is the face of the two folders of torchao_cpp::llm.
PUBLIC_HEADERS = {
    "error.h": ["base"],
    "export.h": ["base"],
    "threads.h": ["base"],
    "dtype.h": ["core"],
    "device.h": ["core"],
    "tensor.h": ["core"],
    "quant_types.h": ["core"],
    "quantized_weight.h": ["core"],
    "weight_tensor.h": ["core"],
    "checkpoint.h": ["io"],
    "config.h": ["config"],
    "quantize.h": ["workflows"],
    "torchao_config.h": ["selection"],
    "linear.h": ["linear"],
    "llm.h": ["models", "engine"],
    "bench.h": ["bench"],
}

# Headers of libraries that exactly one file may include: prefix -> the files.
ONLY_IN = {
    "nlohmann/": ["src/base/json.h", "apps/cli/json_output.h"],
    "oneapi/": ["src/kernels/onednn_gemm.cpp"],
    "spdlog/": ["src/base/logging.cpp"],
}

# Third-party headers a public header must not show: it includes the C++ standard library (no dot, no slash) and ours.
LIMITS = [("test file", 600), ("CMake file", 150), ("source file", 500)]

# Files over the limit, each with the reason why it is one file.
SIZE_EXCEPTIONS: dict[str, str] = {
}

SOURCE_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
BUILD_CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\bTORCHAO_CPP_")


def includes(path):
    """Yields (line number, quote, included path)."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


class Checker:
    def __init__(self, root):
        self.root = root
        self.problems = []

    def problem(self, path, text, line=None):
        name = path.relative_to(self.root).as_posix()
        self.problems.append(f"{name}:{line}: {text}" if line else f"{name}: {text}")

    def files(self, *folders, suffixes=SOURCE_SUFFIXES):
        for folder in folders:
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file() and path.suffix in suffixes and not self.is_built(path):
                    yield path

    def layers_of(self, included):
        """Folders of src/ that an include counts to; None when it is none of ours."""
        if included.startswith("torchao_cpp/"):
            return PUBLIC_HEADERS.get(included.removeprefix("torchao_cpp/"), [])
        first = included.split("/")[0]
        return [first] if "/" in included and first in ALLOWED else None

    def check_edges(self, path, own_layers):
        for number, quote, included in includes(path):
            layers = self.layers_of(included)
            if layers is None:
                if quote == '"':
                    self.problem(path, f'"{included}" is neither "folder/name.h" under src/ nor "torchao_cpp/name.h"', number)
                continue
            if not layers:
                self.problem(path, f'"{included}" is not in PUBLIC_HEADERS of scripts/check_includes.py', number)
                continue
            allowed = {name for layer in own_layers for name in [layer, *ALLOWED[layer]]}
            if not allowed & set(layers):
                self.problem(path, f'{"/".join(own_layers)} may not include {"/".join(layers)} ("{included}")', number)

    def check_layers(self):
        for path in self.files("src"):
            parts = path.relative_to(self.root / "src").parts
            if len(parts) < 2 or parts[0] not in ALLOWED:
                self.problem(path, "stands in no folder of the include table")
                continue
            # A unit test also sees what its folder's test needs from below, so the same table holds for it.
            self.check_edges(path, [parts[0]])
            if parts[0] == "workflows" and len(parts) > 2:
                self.check_family(path, parts[1])

    def check_family(self, path, family):
        for number, _, included in includes(path):
            parts = included.split("/")
            if parts[0] == "workflows" and len(parts) > 2 and parts[1] != family:
                self.problem(path, f'workflow "{family}" may not include workflow "{parts[1]}" ("{included}")', number)

    def check_public_headers(self):
        folder = self.root / "include" / "torchao_cpp"
        found = set()
        for path in self.files("include"):
            found.add(path.name)
            layers = PUBLIC_HEADERS.get(path.name)
            if path.parent != folder or layers is None:
                self.problem(path, "is not in PUBLIC_HEADERS of scripts/check_includes.py")
                continue
            # A header of the face may name what the library under it shows.
            reach = layers if layers != ["models", "engine"] else ["models", "engine", "linear"]
            self.check_edges(path, reach)
            for number, quote, included in includes(path):
                if not included.startswith("torchao_cpp/") and (quote == '"' or "/" in included or "." in included):
                    self.problem(path, f"a public header includes only C++ and torchao_cpp/ headers, not {included}", number)
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if BUILD_CONDITION.match(line):
                    self.problem(path, "a public header has no condition on build options", number)
        for name in sorted(set(PUBLIC_HEADERS) - found):
            self.problem(folder / name, "is in PUBLIC_HEADERS but does not exist")

    def check_single_users(self):
        for path in self.files("include", "src", "apps", "tests", "bench"):
            name = path.relative_to(self.root).as_posix()
            for number, _, included in includes(path):
                for prefix, users in ONLY_IN.items():
                    if included.startswith(prefix) and name not in users:
                        self.problem(path, f"only {' and '.join(users)} may include {prefix}", number)

    def check_apps(self):
        for path in self.files("apps", "python"):
            if path.name.endswith("_test.cpp"):
                continue
            for number, _, included in includes(path):
                if included.startswith("torchao_cpp/"):
                    if not self.layers_of(included):
                        self.problem(path, f'"{included}" is no public header', number)
                elif self.layers_of(included):
                    self.problem(path, f'apps and python include public headers only, not "{included}"', number)

    def check_registered(self):
        for path in self.files("src", "tests", "apps", "bench", "python", suffixes={".cpp", ".cu"}):
            if "data" in path.relative_to(self.root).parts or "install" in path.relative_to(self.root).parts:
                continue
            kind = "test" if path.name.endswith("_test.cpp") else "source"
            if not self.is_registered(path):
                self.problem(path, f"this {kind} is in no CMakeLists.txt, sources.cmake or tests.cmake of its folder or above")

    def is_registered(self, path):
        folder = path.parent
        while folder != self.root:
            for name in ("CMakeLists.txt", "sources.cmake", "tests.cmake"):
                cmake = folder / name
                if not cmake.is_file():
                    continue
                text = re.sub(r"#.*", "", cmake.read_text(encoding="utf-8"))
                relative = re.escape(path.relative_to(folder).as_posix())
                # A family's list may be read from the folder above, with or without the folder's name.
                if re.search(rf"(^|[\s(/\"}}]){relative}($|[\s)\"])", text, re.M):
                    return True
            folder = folder.parent
        return False

    def check_sizes(self):
        seen = set()
        cmake = [p for p in self.root.rglob("CMakeLists.txt") if not self.is_built(p)]
        cmake += self.files("cmake", "src", suffixes={".cmake"})
        for path in [*self.files("include", "src", "apps", "tests", "bench", "python"), *sorted(cmake)]:
            if "data" in path.relative_to(self.root).parts:
                continue
            name = path.relative_to(self.root).as_posix()
            lines = len(path.read_text(encoding="utf-8").splitlines())
            kind = self.kind_of(path)
            limit = dict(LIMITS)[kind]
            if name in SIZE_EXCEPTIONS:
                seen.add(name)
                if lines <= limit:
                    self.problem(path, f"is within the limit of {limit} lines; take it out of SIZE_EXCEPTIONS")
            elif lines > limit:
                self.problem(path, f"has {lines} lines; a {kind} has at most {limit}")
        for name in sorted(set(SIZE_EXCEPTIONS) - seen):
            if self.root == Path(__file__).resolve().parent.parent:
                self.problems.append(f"{name}: is in SIZE_EXCEPTIONS but does not exist")

    def kind_of(self, path):
        if path.name == "CMakeLists.txt" or path.suffix == ".cmake":
            return "CMake file"
        in_tests = path.relative_to(self.root).parts[0] == "tests"
        return "test file" if in_tests or path.stem.endswith("_test") else "source file"

    def is_built(self, path):
        folders = path.relative_to(self.root).parts[:-1]
        return any(folder.startswith(("build", ".")) for folder in folders)

    def check_licence_lines(self):
        paths = list(self.files("include", "src", "apps", "tests", "bench", "cmake", "scripts", "python",
                                suffixes=SOURCE_SUFFIXES | {".cmake", ".py", ".sh"}))
        paths += [p for p in self.root.rglob("CMakeLists.txt") if not self.is_built(p)]
        for path in paths:
            head = path.read_text(encoding="utf-8").splitlines()[:2]
            if not any("SPDX-License-Identifier: Apache-2.0" in line for line in head):
                self.problem(path, "the first lines lack 'SPDX-License-Identifier: Apache-2.0'")

    def check_docs_table(self):
        page = self.root / "docs" / "architecture.md"
        if not page.is_file() or table() not in page.read_text(encoding="utf-8"):
            self.problem(page, "does not hold the include table that check_includes.py --table prints")

    def run(self):
        self.check_layers()
        self.check_public_headers()
        self.check_single_users()
        self.check_apps()
        self.check_registered()
        self.check_sizes()
        self.check_licence_lines()
        self.check_docs_table()
        return self.problems


def table():
    rows = ["| folder | may include (besides itself and the standard library) |", "|---|---|"]
    for folder, below in ALLOWED.items():
        rows.append(f"| `{folder}` | {', '.join(below) or 'nothing of ours'} |")
    rows.append("| `apps`, `python` | public headers only |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--table", action="store_true", help="print the include table in Markdown")
    args = parser.parse_args()
    if args.table:
        print(table())
        return 0
    problems = Checker(args.root.resolve()).run()
    for text in problems:
        print(text)
    print(f"check_includes: {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
