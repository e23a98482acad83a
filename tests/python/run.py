# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs test_*.py and prints "N passed, N failed"; what is skipped is said as `left out:`."""
import os
import sys
import unittest

here = os.path.dirname(os.path.abspath(__file__))
tests = unittest.defaultTestLoader.discover(here, "test_*.py")
result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(tests)
for reason in sorted({reason for _, reason in result.skipped}):
    print(f"left out: {reason}")
failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
print(f"{result.testsRun - failed - len(result.skipped)} passed, {failed} failed")
sys.exit(failed > 0)
