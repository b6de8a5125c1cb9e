#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that check_includes.py accepts a good tree and finds each kind of problem in a bad one."""
import tempfile
import unittest
from pathlib import Path

import check_includes

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
CMAKE_SPDX = "# SPDX-License-Identifier: Apache-2.0\n"


class Tree:
    """A small tree in which every rule holds."""

    def __init__(self, root):
        self.root = Path(root)
        for header in check_includes.PUBLIC_HEADERS:
            self.write(f"include/torchao_cpp/{header}", "#pragma once\n")
        self.write("src/base/json.h", "#include <nlohmann/json.hpp>\n")
        self.write("src/base/json.cpp", '#include "base/json.h"\n')
        self.write("src/base/json_test.cpp", '#include "base/json.h"\n#include <gtest/gtest.h>\n')
        self.cmake("src/base", "json.cpp json_test.cpp")
        self.write("src/kernels/list.cpp", '#include "torchao_cpp/tensor.h"\n')
        self.cmake("src/kernels", "list.cpp")
        self.write("src/workflows/int8/int8.cpp", '#include "config/config_type.h"\n')
        self.write("src/workflows/int8/sources.cmake", "list(APPEND S int8/int8.cpp)\n", CMAKE_SPDX)
        self.write("apps/cli/main.cpp", '#include "torchao_cpp/llm.h"\n#include "json_output.h"\n')
        self.cmake("apps/cli", "main.cpp")
        self.write("docs/architecture.md", check_includes.table() + "\n", "")

    def write(self, name, text, head=SPDX):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + text, encoding="utf-8")

    def cmake(self, folder, sources):
        self.write(f"{folder}/CMakeLists.txt", f"torchao_cpp_library(NAME x SRCS {sources})\n", CMAKE_SPDX)

    def problems(self):
        return check_includes.Checker(self.root).run()


class CheckIncludes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Tree(folder.name)

    def expect(self, *parts):
        """Exactly one problem, holding every part."""
        problems = self.tree.problems()
        self.assertEqual(len(problems), 1, problems)
        for part in parts:
            self.assertIn(part, problems[0])

    def test_good_tree_passes(self):
        self.assertEqual(self.tree.problems(), [])

    def test_what_a_build_made_is_left_alone(self):
        self.tree.write("python/build/cp311/module.cpp", "\n" * 900)
        self.assertEqual(self.tree.problems(), [])
        self.tree.write("python/built.cpp", "\n" * 900)
        self.assertNotEqual(self.tree.problems(), [])

    def test_upward_include(self):
        self.tree.write("src/kernels/list.cpp", '#include "workflows/int8/int8.h"\n')
        self.expect("src/kernels/list.cpp:2", "kernels may not include workflows")

    def test_upward_include_of_a_public_header(self):
        self.tree.write("src/kernels/list.cpp", "#include <torchao_cpp/quantize.h>\n")
        self.expect("src/kernels/list.cpp:2", "kernels may not include workflows")

    def test_upward_include_between_public_headers(self):
        self.tree.write("include/torchao_cpp/tensor.h", '#include "torchao_cpp/linear.h"\n')
        self.expect("include/torchao_cpp/tensor.h:2", "core may not include linear")

    def test_include_without_a_folder(self):
        self.tree.write("src/base/json.cpp", '#include "json.h"\n')
        self.expect("src/base/json.cpp:2", '"json.h" is neither')

    def test_unknown_folder(self):
        self.tree.write("src/misc/a.h", "")
        self.expect("src/misc/a.h", "no folder of the include table")

    def test_workflow_includes_another(self):
        self.tree.write("src/workflows/int8/int8.cpp", '#include "workflows/int4/int4.h"\n')
        self.expect('workflow "int8" may not include workflow "int4"')

    def test_second_user_of_the_json_library(self):
        self.tree.write("src/base/json.cpp", "#include <nlohmann/json.hpp>\n")
        self.expect("src/base/json.cpp:2", "only src/base/json.h and apps/cli/json_output.h may include nlohmann/")

    def test_third_party_in_a_public_header(self):
        self.tree.write("include/torchao_cpp/tensor.h", "#include <fmt/core.h>\n")
        self.expect("include/torchao_cpp/tensor.h:2", "not fmt/core.h")

    def test_condition_on_a_build_option(self):
        self.tree.write("include/torchao_cpp/tensor.h", "#ifdef TORCHAO_CPP_CUDA\n#endif\n")
        self.expect("include/torchao_cpp/tensor.h:2", "no condition on build options")

    def test_unlisted_public_header(self):
        self.tree.write("include/torchao_cpp/extra.h", "")
        self.expect("include/torchao_cpp/extra.h", "not in PUBLIC_HEADERS")

    def test_application_includes_an_internal_header(self):
        self.tree.write("apps/cli/main.cpp", '#include "core/float_formats.h"\n')
        self.expect("apps/cli/main.cpp:2", "public headers only")

    def test_unregistered_test(self):
        self.tree.write("src/base/lost_test.cpp", "")
        self.expect("src/base/lost_test.cpp", "this test is in no CMakeLists.txt")

    def test_name_inside_another_name_is_not_registered(self):
        self.tree.write("src/base/on.cpp", "")
        self.expect("src/base/on.cpp", "this source is in no CMakeLists.txt")

    def test_commented_out_test_is_not_registered(self):
        self.tree.write("src/base/CMakeLists.txt", "f(json.cpp) # json_test.cpp\n", CMAKE_SPDX)
        self.expect("src/base/json_test.cpp", "this test is in no CMakeLists.txt")

    def test_long_files(self):
        for name, limit in (("src/base/json.cpp", 500), ("src/base/json_test.cpp", 600)):
            self.tree.write(name, "\n" * (limit - 1))
            self.assertEqual(self.tree.problems(), [])
            self.tree.write(name, "\n" * limit)
            self.expect(name, f"has {limit + 1} lines", f"at most {limit}")
            self.tree.write(name, "")
        self.tree.write("src/base/CMakeLists.txt", "f(json.cpp json_test.cpp)\n" + "\n" * 150, CMAKE_SPDX)
        self.expect("src/base/CMakeLists.txt", "has 152 lines")

    def test_missing_licence_line(self):
        self.tree.write("src/base/json.cpp", "", head="")
        self.expect("src/base/json.cpp", "SPDX")

    def test_docs_table_differs(self):
        self.tree.write("docs/architecture.md", "| `kernels` | everything |\n", "")
        self.expect("docs/architecture.md", "does not hold the include table")


if __name__ == "__main__":
    unittest.main()
