# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tensors of other libraries through DLPack."""
import array
import ctypes
import gc
import unittest

from common import PICK, SOFTMAX, SUMS, compile, jax, needs, numpy as np, torch
import tccfuse
from tccfuse import _dlpack

_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi))
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))
DELETER = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


class Producer:
    """A library with DLPack: three floats, of which it counts how often they are given back."""

    def __init__(self, values=(1, 2, 3), versioned=True, major=1, flags=0, device=1, type=(2, 32, 1),
                 stride=1, byte_offset=0, old_signature=False):
        self.data = (ctypes.c_float * len(values))(*values)
        self.shape = (ctypes.c_int64 * 1)(len(values) // abs(stride))
        self.strides = (ctypes.c_int64 * 1)(stride)
        self.deleted, self.asked = [], []
        self.versioned, self.device, self.old_signature = versioned, device, old_signature
        start = ctypes.addressof(self.data) - byte_offset
        if stride < 0:
            start += 4 * (len(values) - 1)
        tensor = _dlpack.Tensor(start, device, 0, 1, *type, self.shape, self.strides, byte_offset)
        self.deleter = DELETER(self.deleted.append)
        deleter = ctypes.cast(self.deleter, ctypes.c_void_p)
        self.name = b"dltensor_versioned" if versioned else b"dltensor"
        self.managed = (_dlpack.ManagedVersioned(major, 0, None, deleter, flags, tensor) if versioned
                        else _dlpack.Managed(tensor, None, deleter))
        # As in every producer: a capsule that nobody has used up gives the tensor back.
        self.end = DELETER(lambda c: _is_valid(c, self.name) and self.deleter(_pointer(c, self.name)))

    def __dlpack_device__(self):
        return self.device, 0

    def __dlpack__(self, **arguments):
        if self.old_signature and "max_version" in arguments:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.asked.append(arguments)
        return _new(ctypes.addressof(self.managed), self.name, ctypes.cast(self.end, ctypes.c_void_p))


class OldProducer(Producer):
    pass


class Protocol(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.f = staticmethod(compile("fn f(x: f32[N]) -> f32[N] {\n  return x + x\n}"))

    def wrong(self, text, producer, **named):
        with self.assertRaisesRegex(tccfuse.TensorError, text):
            self.f(producer, **named)

    def test_versions_and_deleters(self):
        for make, asked in ((lambda: Producer(), {"max_version": (1, 1)}),
                            (lambda: Producer(versioned=False), {"max_version": (1, 1)}),
                            (lambda: OldProducer(versioned=False, old_signature=True), {})):
            p = make()
            for calls in 1, 2:
                self.assertEqual(list(self.f(p)), [2, 4, 6])
                self.assertEqual(p.asked, [asked] * calls)
                gc.collect()
                self.assertEqual(p.deleted, [ctypes.addressof(p.managed)] * calls)

    def test_no_copy(self):
        p, q = Producer(), Producer((0, 0, 0))
        self.assertIs(self.f(p, out=q), q)
        self.assertEqual(list(q.data), [2, 4, 6])
        p.data[0] = 5
        self.assertEqual(list(self.f(p)), [10, 4, 6])

    def test_strides_and_offsets(self):
        self.assertEqual(list(self.f(Producer((1, 2, 3, 4), stride=2))), [2, 6])
        self.assertEqual(list(self.f(Producer((1, 2, 3), stride=-1))), [6, 4, 2])
        self.assertEqual(list(self.f(Producer((1, 2, 3), byte_offset=64))), [2, 4, 6])

    def test_capsules_are_used_once(self):
        for versioned in True, False:
            p = Producer(versioned=versioned)
            capsule = p.__dlpack__()
            self.assertEqual(list(self.f(capsule)), [2, 4, 6])
            gc.collect()
            self.assertEqual(len(p.deleted), 1)
            self.wrong("argument x is a capsule that was used before", capsule)
            del capsule
            gc.collect()
            self.assertEqual(len(p.deleted), 1)

    def test_refused(self):
        for producer, text in (
                (Producer(major=2), "argument x is a DLPack tensor of version 2.0"),
                (Producer(device=2), "argument x cannot be taken"),
                (Producer(device=8), "argument x cannot be taken: memory of DLPack device type 8"),
                (Producer(type=(5, 64, 1)), "no element type for DLPack's code 5, 64 bits, 1 lanes"),
                (Producer(type=(2, 32, 4)), "4 lanes")):
            self.wrong(text, producer)
            gc.collect()
            self.assertEqual(len(producer.deleted), 1, text)
        self.wrong("result out is read-only", Producer(), out=Producer(flags=1))
        self.wrong("is a capsule of other", _new(1, b"other", None))

        class Broken(Producer):
            def __dlpack__(self, **_):
                raise BufferError("not today")
        self.wrong("argument x cannot be taken through DLPack: not today", Broken())
        with self.assertRaisesRegex(tccfuse.UseError, "must be f32, but is i32"):
            self.f(Producer(type=(0, 32, 1)))
        self.assertEqual(list(self.f(array.array("f", [1]))), [2])

    def test_read_only_arguments(self):
        self.assertEqual(list(self.f(Producer(flags=1))), [2, 4, 6])


@needs("torch")
class Torch(unittest.TestCase):
    def test_calls(self):
        f = compile(SOFTMAX)
        z = torch.randn(5, 7)
        y = f(z)
        self.assertIsInstance(y, torch.Tensor)
        torch.testing.assert_close(y, torch.softmax(z, 1))
        torch.testing.assert_close(f(z=z.T), torch.softmax(z.T, 1))
        out = torch.empty(5, 7)
        self.assertIs(f(z, out=out), out)
        torch.testing.assert_close(out, y)
        both = compile(SUMS)(z, np.ones((5, 7), np.float32) if np else z)
        self.assertIsInstance(both[1], torch.Tensor)

    def test_views(self):
        f = compile("fn f(x: f32[N]) -> f32[N] {\n  return x + x\n}")
        x = torch.arange(6, dtype=torch.float32)
        for view in x[::2], x[1:4], x[:0], x[:1].expand(5), torch.nn.Parameter(x).detach():
            torch.testing.assert_close(f(view), view + view)
        negative = torch.view_as_complex(torch.arange(4.).reshape(2, 2)).conj().imag
        self.assertTrue(negative.is_neg())
        with self.assertRaisesRegex(tccfuse.TensorError, "stands for its negative"):
            f(negative)
        x[0] = 7  # the memory is looked at anew in every call
        self.assertEqual(f(x)[0], 14)
        y = torch.zeros(6)
        f(x, out=y[::2].resize_(6))
        self.assertEqual(f(x.resize_(2)).shape, (2,))

    def test_element_types(self):
        for name in "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8".split():
            short = name.replace("bfloat", "bf").replace("float", "f").replace("uint", "u")
            short = short.replace("int", "i")
            f = compile(f"fn f(x: {short}[N]) -> {short}[N] {{\n  return {short}(x + x)\n}}")
            x = torch.arange(4).to(getattr(torch, name))
            torch.testing.assert_close(f(x), x + x)

    def test_refused(self):
        f = compile(SOFTMAX)
        with self.assertRaisesRegex(tccfuse.TensorError, "argument z cannot be taken .*gradient"):
            f(torch.zeros(2, 2, requires_grad=True))
        with self.assertRaisesRegex(tccfuse.UseError, "argument ids must be i32, but is i64"):
            compile(PICK)(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))
        with self.assertRaisesRegex(tccfuse.TensorError, "argument z cannot be taken"):
            f(torch.zeros(2, 2, device="meta"))


@needs("jax")
class Jax(unittest.TestCase):
    def test_calls(self):
        f = compile(SOFTMAX)
        z = jax.numpy.arange(12, dtype="float32").reshape(3, 4)
        y = f(z)
        self.assertIsInstance(y, jax.Array)
        np.testing.assert_allclose(y, jax.nn.softmax(z, 1), rtol=1e-5)

    def test_results_cannot_be_written(self):
        z = jax.numpy.zeros((3, 4))
        with self.assertRaisesRegex(tccfuse.TensorError, "result out is a JAX array, which is read-only"):
            compile(SOFTMAX)(z, out=z)


if __name__ == "__main__":
    unittest.main()
