# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The package as it is installed, its example, and what it repeats of tcc_fuse.h."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

from common import ROOT, needs
import tccfuse
from tccfuse import _library, errors

PYTHON = os.path.join(ROOT, "python")


def run(*command, **environment):
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env={**os.environ, **environment})
    return done.returncode, done.stdout


class Header(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(os.path.join(ROOT, "include", "tcc_fuse.h"), encoding="utf-8") as f:
            cls.text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)

    def names(self, enum, prefix):
        body = re.search(r"typedef enum %s \{(.*?)\}" % enum, self.text, re.S).group(1)
        return re.findall(r"\b%s(\w+)" % prefix, body)

    def test_enums(self):
        self.assertEqual([n.lower() for n in self.names("tcf_dtype", "TCF_")], list(_library.DTYPES))
        self.assertEqual([n.lower() for n in self.names("tcf_stage", "TCF_STAGE_")],
                         list(_library.STAGES))
        self.assertEqual([n.lower() for n in self.names("tcf_format", "TCF_")], list(_library.FORMATS))
        self.assertEqual(len(self.names("tcf_status", "TCF_")), len(errors.BY_STATUS) + 1)

    def test_flags(self):
        flags = {n: int(v) for n, v in re.findall(r"\bTCF_([A-Z_0-9]+) = (\d+)", self.text)}
        for name in "OK", "MAX_RANK", "COLOR":
            flags.pop(name)
        ours = {n.upper(): v for n, v in _library.FLAGS.items()}
        ours.update({"NO_" + n.upper(): v for n, v in _library.RULES.items()})
        self.assertEqual(ours, flags)

    def test_structs(self):
        for struct, name in ((_library.Options, "tcf_options"), (_library.EmitOptions, "tcf_emit_options"),
                             (_library.DiagnosticStruct, "tcf_diagnostic"),
                             (_library.ValueInfo, "tcf_value_info"), (_library.Size, "tcf_size"),
                             (_library.Output, "tcf_output")):
            body = re.search(r"typedef struct %s \{(.*?)\}" % name, self.text, re.S).group(1)
            fields = [re.findall(r"(\w+)(?:\[\w+\])?\s*$", part)[0]
                      for line in body.split(";") if line.strip() for part in line.split(",")]
            self.assertEqual([f for f, _ in struct._fields_], fields, name)

    def test_version(self):
        numbers = re.findall(r"#define TCF_VERSION_\w+ (\d+)", self.text)
        self.assertEqual(tccfuse.__version__, ".".join(numbers))

    def test_declarations(self):
        for name, (_, arguments) in _library._DECLARATIONS.items():
            found = re.search(r"\b%s\(([^;]*?)\);" % name, self.text)
            self.assertTrue(found, name)
            given = [] if found.group(1) == "void" else found.group(1).split(",")
            self.assertEqual(len(arguments), len(given), name)


class Wheel(unittest.TestCase):
    def test_installed(self):
        if run("-m", "pip", "--version")[0]:
            self.skipTest("the Python package is not installed with pip (there is no pip)")
        with tempfile.TemporaryDirectory() as folder:
            status, said = run("-m", "pip", "install", "--no-index", "--no-deps", "--target", folder,
                               "--quiet", "--disable-pip-version-check", PYTHON)
            self.assertEqual(status, 0, said)
            environment = {"PYTHONPATH": folder}
            environment["TCF_LIBRARY"] = ""  # the wheel has it
            program = ("import tccfuse, os; s = tccfuse.Session(threads=1)\n"
                       "print(os.path.dirname(tccfuse.__file__) == os.path.dirname(s._lib.path),\n"
                       "      tccfuse.compile('fn f(x: f32) -> f32 {\\n  return x * 2\\n}', session=s)\n"
                       "      (1.5))")
            status, said = run("-c", program, **environment)
            self.assertEqual(status, 0, said)
            self.assertRegex(said, r"^True (3\.0|<memory)")
            files = os.listdir(os.path.join(folder, "tccfuse"))
            self.assertIn("py.typed", files)
            self.assertNotIn("wheel_backend.py", os.listdir(folder))


@needs("numpy")
class Example(unittest.TestCase):
    def test_layernorm(self):
        status, said = run(os.path.join(ROOT, "examples", "python", "layernorm.py"), PYTHONPATH=PYTHON)
        self.assertEqual(status, 0, said)
        worst = float(re.search(r"largest difference from NumPy: (\S+)", said).group(1))
        self.assertLess(worst, 1e-4)
        self.assertIn("refused: x has D = 256, but gain has D = 100\n", said)
        self.assertIn("1 kernel", said)

    def test_page(self):
        """The programs of docs/python.md and of python/README.md."""
        for page in "docs/python.md", "python/README.md":
            with open(os.path.join(ROOT, page), encoding="utf-8") as f:
                program = "".join(re.findall(r"```python\n(.*?)```", f.read(), re.S))
            names = {}
            exec(program, names)
            self.assertEqual(names["y"].shape, (2, 3))
            self.assertAlmostEqual(float(names["y"].sum()), 2, places=5)


if __name__ == "__main__":
    unittest.main()
