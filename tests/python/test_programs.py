# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs, messages, explanations, output ahead of time, the library: NumPy is not needed."""
import array
import gc
import inspect
import json
import os
import subprocess
import sys
import tempfile
import unittest
import warnings

from common import PICK, ROOT, SOFTMAX, SUMS, compile, numpy
import tccfuse


class Programs(unittest.TestCase):
    def test_carets(self):
        with self.assertRaises(tccfuse.ProgramError) as caught:
            compile("fn f(x: f32[N]) -> f32[N] {\n  return x + yy\n}", name="mine.tdsl")
        text = str(caught.exception)
        self.assertTrue(text.startswith("mine.tdsl:2:14: error[E0211]:"), text)
        self.assertIn("\n   2 |   return x + yy\n", text)
        self.assertIn("^~", text)
        first = caught.exception.diagnostics[0]
        self.assertEqual((first.severity, first.code, first.file, first.line, first.column),
                         ("error", 211, "mine.tdsl", 2, 14))

    def test_warnings(self):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            compile("fn f(x: f32[N]) -> f32[N] {\n  fuse { let y = x + 1 }\n  return x\n}")
        self.assertEqual({w.category for w in seen}, {tccfuse.ProgramWarning})
        self.assertIn("W0802", "".join(str(w.message) for w in seen))

    def test_which_function(self):
        program = tccfuse.load(SOFTMAX + PICK)
        self.assertEqual(list(program), ["softmax", "pick"])
        with self.assertRaisesRegex(tccfuse.UseError, "softmax, pick"):
            compile(SOFTMAX + PICK)
        with self.assertRaisesRegex(tccfuse.UseError, "softmax"):
            compile(SOFTMAX + PICK, "softmix")
        self.assertEqual(compile(SOFTMAX + PICK, "pick").__name__, "pick")

    def test_files(self):
        f = compile(os.path.join(ROOT, "examples", "norms.tdsl"), "softmax_rows")
        self.assertEqual(f.params[0], ("x", "f32", ("N", "D"), ("N", "D")))
        self.assertEqual(str(inspect.signature(f).parameters["x"].annotation), "f32[N, D]")
        with self.assertRaisesRegex(tccfuse.FileError, "nowhere.tdsl"):
            compile("nowhere.tdsl")

    def test_options(self):
        for bad, kind, text in (({"target": "tpu"}, tccfuse.UseError, "tpu"),
                                ({"threads": -1}, tccfuse.UseError, "threads"),
                                ({"fast": True}, TypeError, "no option 'fast'.*fast_math"),
                                ({"without": "speed"}, tccfuse.UseError, "no rule 'speed'")):
            with self.assertRaisesRegex(kind, text):
                compile(SOFTMAX, **bad)
        session = tccfuse.Session(threads=1, deterministic=True, without=["order"])
        self.assertIs(compile(SOFTMAX, threads=1).session is session, False)
        self.assertIs(tccfuse.compile(SOFTMAX, session=session).session, session)
        with self.assertRaisesRegex(TypeError, "threads"):
            compile(SOFTMAX, session=session)

    def test_looking_inside(self):
        f = compile(SUMS)
        explained = f.explain(dims={"N": 3, "T": 4})
        self.assertIn("fn sums", str(explained))
        self.assertEqual(repr(explained), str(explained))
        self.assertIn("<", explained._repr_html_())
        self.assertIsInstance(json.loads(explained.render("json")), (dict, list))
        for stage, text in (("graph", "sum"), ("fused", "kernel"), ("tile", "program @sums"),
                            ("llvm", "define"), ("asm", "ret")):
            self.assertIn(text, f.ir(stage), stage)
        self.assertNotEqual(f.ir("tile", {"N": 3, "T": 4}), f.ir("tile"))
        with self.assertRaisesRegex(tccfuse.UseError, "no stage 'tiles'"):
            f.ir("tiles")
        self.assertIn("sm_90", compile(SOFTMAX, target="cuda:sm_90a").ir("asm"))

    def test_build(self):
        with tempfile.TemporaryDirectory() as folder:
            def at(name):
                return os.path.join(folder, name)
            tccfuse.build(SOFTMAX, at("s.o"), header=at("s.h"), dims={"T": 8}, symbol="my_softmax")
            self.assertEqual(open(at("s.o"), "rb").read(4), b"\x7fELF")
            self.assertIn("my_softmax", open(at("s.h")).read())
            tccfuse.build(SOFTMAX, at("s.ptx"), target="cuda:sm_90a")
            self.assertIn(".target sm_90a", open(at("s.ptx")).read())
            tccfuse.build(SOFTMAX + PICK, at("both.so"), ["softmax", "pick"], header=at("both.h"))
            self.assertIn("pick_open", open(at("both.h")).read())
            with self.assertRaisesRegex(tccfuse.UseError, "ends in"):
                tccfuse.build(SOFTMAX, at("s.exe"))
            with self.assertRaises(tccfuse.FileError):
                tccfuse.build(SOFTMAX, os.path.join(folder, "none", "s.o"))
            self.assertEqual(sorted(os.listdir(folder)), ["both.h", "both.so", "s.h", "s.o", "s.ptx"])

    def test_everything_is_freed(self):
        gc.collect()
        session, freed = tccfuse.Session(threads=1), []
        free, session._lib.program_free = session._lib.program_free, lambda p: (freed.append(p),
                                                                                free(p))
        try:
            f = tccfuse.compile(SOFTMAX, session=session)
            handle = f.program.handle
            del f
            gc.collect()
            self.assertEqual(freed, [handle])
        finally:
            session._lib.program_free = free

    def test_buffers(self):
        f = compile("fn f(x: f64[N], y: i8[N]) -> f64[N] {\n  return x + f64(y)\n}")
        y = f(array.array("d", [1, 2, 3]), memoryview(array.array("b", [1, 1, -1])))
        self.assertEqual(list(y), [2, 3, 2])
        out = array.array("d", [0, 0, 0])
        f(array.array("d", [1, 2, 3]), array.array("b", [0, 0, 0]), out=out)
        self.assertEqual(list(out), [1, 2, 3])
        g = compile("fn g(x: u8[N]) -> u8[N] {\n  return x + x\n}")
        self.assertEqual(bytes(g(b"\1\2")), b"\2\4")
        with self.assertRaisesRegex(tccfuse.TensorError, "result out is read-only"):
            g(b"\1\2", out=b"\1\2")


class Library(unittest.TestCase):
    def run_python(self, program, **environment):
        environment = {**os.environ, **environment}
        return subprocess.run([sys.executable, "-c", program], env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def test_not_found(self):
        for path, text in (("/none/libtccfuse.so", "which does not exist"),
                           (os.path.abspath(__file__), "cannot be loaded")):
            done = self.run_python("import tccfuse; tccfuse.Session()", TCF_LIBRARY=path)
            self.assertIn("LibraryError", done.stdout)
            self.assertIn(text, done.stdout)

    def test_without_numpy(self):
        program = ("import sys; sys.modules['numpy'] = None\n"
                   "import array, tccfuse\n"
                   f"f = tccfuse.compile({SOFTMAX!r}, threads=1)\n"
                   "x = memoryview(array.array('f', [1, 1, 1, 1])).cast('B').cast('f', (2, 2))\n"
                   "print(f(x).tolist())")
        self.assertEqual(self.run_python(program).stdout, "[[0.5, 0.5], [0.5, 0.5]]\n")


if __name__ == "__main__":
    unittest.main()
