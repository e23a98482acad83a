# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calls on NumPy arrays."""
import math
import sys
import threading
import unittest

from common import PICK, SOFTMAX, SUMS, compile, needs, numpy as np
import tccfuse


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@needs("numpy")
class Calls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.softmax, cls.sums = staticmethod(compile(SOFTMAX)), staticmethod(compile(SUMS))
        cls.x = np.random.default_rng(1).standard_normal((6, 9)).astype(np.float32)

    def test_results_are_made(self):
        y = self.softmax(self.x)
        self.assertIsInstance(y, np.ndarray)
        np.testing.assert_allclose(y, softmax(self.x), rtol=1e-5)

    def test_keywords(self):
        a, b = self.x, self.x + 1
        total, both = self.sums(y=b, x=a)
        np.testing.assert_allclose(both, a + b, rtol=1e-6)
        np.testing.assert_allclose(self.sums(a, y=b)[0], (a + b).sum(1), rtol=1e-4)

    def test_out(self):
        y = np.zeros_like(self.x)
        self.assertIs(self.softmax(self.x, out=y), y)
        np.testing.assert_allclose(y, softmax(self.x), rtol=1e-5)
        outs = np.zeros(6, np.float32), np.zeros_like(self.x)
        self.assertIs(self.sums(self.x, self.x, out=outs), outs)
        np.testing.assert_allclose(outs[1], 2 * self.x, rtol=1e-6)

    def test_out_may_be_an_argument(self):
        y = self.x.copy()
        self.softmax(y, out=y)
        np.testing.assert_allclose(y, softmax(self.x), rtol=1e-5)

    def test_strides(self):
        wide = np.random.default_rng(2).standard_normal((9, 12)).astype(np.float32)
        for x in wide.T, wide[::-1, ::2], wide[:, 3:], np.broadcast_to(wide[0], (5, 12)):
            np.testing.assert_allclose(self.softmax(x), softmax(x), rtol=1e-5)
        y = np.zeros((12, 9), np.float32)
        self.softmax(wide, out=y.T)
        np.testing.assert_allclose(y.T, softmax(wide), rtol=1e-5)

    def test_unaligned(self):
        raw = np.zeros(4 * 6 + 1, np.uint8)[1:].view(np.float32).reshape(2, 3)
        raw[:] = self.x[:2, :3]
        np.testing.assert_allclose(self.softmax(raw), softmax(self.x[:2, :3]), rtol=1e-5)

    def test_empty(self):
        self.assertEqual(self.softmax(np.zeros((0, 4), np.float32)).shape, (0, 4))

    def test_new_sizes_and_read_only(self):
        for n in 1, 2, 5, 2, 1:
            x = self.x[:n]
            x = x.copy()
            x.flags.writeable = False
            np.testing.assert_allclose(self.softmax(x), softmax(x), rtol=1e-5)

    def test_sizes_that_are_solved(self):
        f = compile("fn f(x: f32[X], w: f32[R]) -> f32[P] {\n  return dot(x[X -> P + R], w, R)\n}")
        x = np.arange(6, dtype=np.float32)
        for _ in range(2):
            np.testing.assert_array_equal(f(x, np.ones(2, np.float32)), [1, 3, 5, 7, 9])

    def test_element_types(self):
        for name, dtype in (("f64", "f8"), ("f32", "f4"), ("f16", "f2"), ("i64", "i8"), ("i32", "i4"),
                            ("i16", "i2"), ("i8", "i1"), ("u8", "u1"), ("u64", "u8"), ("u32", "u4"),
                            ("u16", "u2")):
            f = compile(f"fn f(x: {name}[N]) -> {name}[N] {{\n  return {name}(x + x)\n}}")
            x = np.arange(5).astype(dtype)
            y = f(x)
            self.assertEqual(y.dtype, x.dtype)
            np.testing.assert_array_equal(y, x + x)
        f = compile("fn f(x: i32[N]) -> bool[N] {\n  return x > 2\n}")
        np.testing.assert_array_equal(f(np.arange(5, dtype=np.intc)), np.arange(5) > 2)

    def test_bf16_is_bits(self):
        f = compile("fn f(x: bf16[N]) -> bf16[N] {\n  return bf16(x + x)\n}")
        np.testing.assert_array_equal(f(np.array([0x3f80, 0x4000], np.uint16)), [0x4000, 0x4080])

    def test_numbers(self):
        f = compile("fn f(x: f32[N], a: f32, n: i32) -> f32[N] {\n  return x * a + f32(n)\n}")
        x = np.arange(3, dtype=np.float32)
        np.testing.assert_array_equal(f(x, 2, 1), x * 2 + 1)
        np.testing.assert_array_equal(f(x, np.float32(0.5), np.array(1, np.int32)), x / 2 + 1)
        for bad, text in ((2**31, "i32 does not hold"), (1.0, "is a float, but must be i32")):
            with self.assertRaisesRegex(tccfuse.TensorError, "argument n .*" + text):
                f(x, 2.0, bad)
        total = compile("fn f(x: f32[N]) -> f32 {\n  return sum(x, N)\n}")
        self.assertTrue(math.isclose(total(x), 3))

    def test_symbolic_and_dims(self):
        f = compile(SOFTMAX, dims={"N": 6, "T": 9}, symbolic=["N"])
        np.testing.assert_allclose(f(self.x), softmax(self.x), rtol=1e-5)
        np.testing.assert_allclose(f(self.x[:4]), softmax(self.x[:4]), rtol=1e-5)

    def test_bound(self):
        x, y = self.x.copy(), np.zeros_like(self.x)
        run = self.softmax.bind(x, out=y)
        self.assertFalse(y.any())
        for _ in range(2):
            self.assertIs(run(), y)
            np.testing.assert_allclose(y, softmax(x), rtol=1e-5)
            x *= 2
        with self.assertRaisesRegex(tccfuse.UseError, "must have size 6, but has 5"):
            self.softmax.bind(z=x, out=y[:5])()
        self.softmax.prepare(x[:, :3])

    def test_many_threads(self):
        wrong = []

        def work(n):
            x = self.x[:n] * n
            for _ in range(200):
                if not np.allclose(self.softmax(x), softmax(x), rtol=1e-4):
                    wrong.append(n)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 7)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(wrong, [])

    def test_threads_that_compile_in_one_session(self):
        session, wrong = tccfuse.Session(threads=1), []

        def work(k):
            try:
                for _ in range(10):
                    f = tccfuse.compile(f"fn f(x: f32[N]) -> f32[N] {{\n  return x + {k}\n}}",
                                        session=session)
                    for n in 3, 4:
                        if (f(np.zeros(n, np.float32)) != k).any():
                            wrong.append(k)
                    try:
                        f(np.zeros((2, 2), np.float32))
                    except tccfuse.UseError as e:
                        if "argument x must have 1 ax" not in str(e):
                            wrong.append(str(e))
            except tccfuse.Error as e:
                wrong.append(e)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
            [t.start() for t in threads]
            [t.join() for t in threads]
        finally:
            sys.setswitchinterval(interval)
        self.assertEqual(wrong, [])

    def test_interpreter(self):
        f = compile(SOFTMAX, target="interp")
        np.testing.assert_allclose(f(self.x), softmax(self.x), rtol=1e-5)


@needs("numpy")
class WrongArguments(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.softmax, cls.sums = staticmethod(compile(SOFTMAX)), staticmethod(compile(SUMS))
        cls.x = np.zeros((6, 9), np.float32)

    def wrong(self, text, *args, kind=tccfuse.UseError, f=None, **named):
        with self.assertRaisesRegex(kind, text):
            (f or self.softmax)(*args, **named)
        np.testing.assert_allclose(self.softmax(self.x), 1 / 9, rtol=1e-5)  # usable after it

    def test_types_and_sizes(self):
        x = self.x
        self.wrong("argument z must be f32, but is f64", x.astype("f8"))
        self.wrong("argument z must have 2 axes, but has 1", x[0])
        self.wrong("x has T = 9, but y has T = 8|T.*9.*8", x, x[:, :8], f=self.sums)
        self.wrong("must have size 6, but has 5", x, out=x[:5].copy())
        self.wrong("result out must be f32, but is f64", x, out=x.astype("f8"))

    def test_names(self):
        x = self.x
        self.wrong("takes 1 argument, not 2", x, x)
        self.wrong(r"needs the argument z: f32\[N, T\]")
        self.wrong("no parameter q; it has z", x, q=x)
        self.wrong("argument z of softmax is given twice", x, z=x)
        self.wrong("has 1 result, not 2", x, out=(x, x))

    def test_no_tensors(self):
        for value in [1, 2], "text", None, object(), {}:
            self.wrong("argument z is a .*, not a tensor", value, kind=tccfuse.TensorError)
        self.wrong("must have 2 axes, but is a float", 1.0, kind=TypeError)
        self.wrong("result out is a float", self.x, out=1.0, kind=TypeError)
        self.wrong("other byte order", self.x.astype(">f4"), kind=TypeError)
        self.wrong("complex64", self.x.astype("c8"), kind=TypeError)
        self.wrong("masked", np.ma.masked_array(self.x), kind=TypeError)

    def test_read_only_results(self):
        y = self.x.copy()
        y.flags.writeable = False
        self.wrong("result out is read-only", self.x, out=y, kind=TypeError)

    def test_index_out_of_range(self):
        f = compile(PICK)
        table, ids = np.zeros((4, 2), np.float32), np.array([0, 7], np.int32)
        with self.assertRaisesRegex(tccfuse.DataError, r"<string>:2:\d+: error(.|\n)*7(.|\n)*\^"):
            f(table, ids)
        f(table, ids - ids)


if __name__ == "__main__":
    unittest.main()
