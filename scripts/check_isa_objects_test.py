#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that check_isa_objects.py accepts a sealed object and finds each kind of shared symbol, on objects that a
compiler made: check_isa_objects_test.py [COMPILER [NM]]."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COMPILER = "c++"
NM = "nm"
SCRIPT = Path(__file__).with_name("check_isa_objects.py")
ENTRY = "namespace torchao_cpp { int x_avx2_functions() { return 1; } }\n"


class CheckIsaObjects(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def compiled(self, text, name="product/x_avx2.cpp"):
        source = self.root / name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text, encoding="utf-8")
        made = f"{source}.o"
        subprocess.run([COMPILER, "-std=c++20", "-c", str(source), "-o", made], check=True)
        return made

    def check(self, *objects, sources=("product/x_avx2.cpp",), nm=None):
        command = [sys.executable, str(SCRIPT), "--nm", nm or NM, "--sources", *sources, "--objects", *objects]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout.splitlines()

    def expect(self, text, *parts):
        """Exactly one problem, which names the object and holds every part."""
        code, lines = self.check(self.compiled(text))
        self.assertEqual((code, len(lines)), (1, 1), lines)
        for part in ("product/x_avx2.cpp.o", *parts):
            self.assertIn(part, lines[0])

    def test_sealed_object_passes(self):
        text = "namespace { template <typename T> int f(T v) { return v; } int table[3]; int g() { return f(table[1]); } }\n"
        code, lines = self.check(self.compiled(text + "static int h() { return g(); }\n" + ENTRY.replace("1;", "h();")))
        self.assertEqual((code, lines), (0, ["check_isa_objects: 1 objects share nothing"]))

    def test_inline_function(self):
        self.expect("inline int f() { return 2; }\n" + ENTRY.replace("1;", "f();"), "'f()' is weak")

    def test_template(self):
        text = "template <typename T> T twice(T v) { return v + v; }\n"
        self.expect(text + ENTRY.replace("1;", "twice(2);"), "'int twice<int>(int)' is weak")

    def test_inline_variable(self):
        self.expect("inline int v = 3;\n" + ENTRY.replace("1;", "v;"), "'v' is ")

    def test_second_function(self):
        self.expect(ENTRY + "int other(long) { return 3; }\n", "'other(long)' is global",
                    "expected only torchao_cpp::..._avx2() or")

    def test_second_entry(self):
        text = ENTRY + "namespace torchao_cpp { int y_avx2(long) { return 3; } }\n"
        self.assertEqual(self.check(self.compiled(text))[0], 0)

    def test_entry_for_another_instruction_set(self):
        self.expect(ENTRY + "namespace torchao_cpp { int y_avx512() { return 3; } }\n", "'torchao_cpp::y_avx512()' is global")

    def test_global_data(self):
        self.expect(ENTRY + "int counter = 3;\n", "'counter' is global")

    def test_missing_entry(self):
        self.expect("[[gnu::used]] static int f() { return 2; }\n", "has no torchao_cpp::..._avx2()")

    def test_other_objects_are_passed_over(self):
        other = self.compiled("int other() { return 3; }\n", "product/y.cpp")
        self.assertEqual(self.check(other, self.compiled(ENTRY))[0], 0)

    def test_source_without_an_object(self):
        other = self.compiled("int other() { return 3; }\n", "product/y.cpp")
        self.assertEqual(self.check(other), (1, ["product/x_avx2.cpp: 0 of the objects are its; expected one"]))

    def test_unreadable_object(self):
        made = self.root / "product/x_avx2.cpp.o"
        made.parent.mkdir()
        code, lines = self.check(str(made))
        self.assertEqual((code, len(lines)), (1, 1))
        self.assertIn(f"{made}: {NM} does not read it", lines[0])


if __name__ == "__main__":
    COMPILER, NM = (sys.argv[1:] + [COMPILER, NM][len(sys.argv) - 1:])[:2]
    unittest.main(argv=sys.argv[:1])
