# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Interleaved timing: contenders take turns within one process, so that a slow spell of the machine
meets all of them; the table gives the median of the turns and, in parentheses, the best."""
import statistics
import time


def calls_per_turn(function, target=0.02):
    """How many calls make a turn of about `target` seconds."""
    function()
    begin = time.perf_counter()
    function()
    once = time.perf_counter() - begin
    return max(1, min(2000, int(target / max(once, 1e-7))))


def wait_until_quiet():
    """Until no thread of the process runs: libraries' threads spin for 1 to 100 ms after their last
    call, on the CPUs that the next contender needs."""
    for _ in range(100):
        before = time.process_time()
        time.sleep(0.002)
        if time.process_time() - before < 0.0002:
            return


def warm_up(function, seconds=0.002):
    """Wakes the contender's threads and lets them settle."""
    end = time.perf_counter() + seconds
    function()
    while time.perf_counter() < end:
        function()


def interleave(contenders, seconds=float(__import__("os").environ.get("TCF_BENCH_SECONDS", 2)), least=7):
    """contenders: {name: function}; returns {name: (median, best)} in seconds per call."""
    counts = {name: calls_per_turn(function) for name, function in contenders.items()}
    times = {name: [] for name in contenders}
    end = time.perf_counter() + seconds * len(contenders)
    while time.perf_counter() < end or min(map(len, times.values())) < least:
        for name, function in contenders.items():
            wait_until_quiet()
            warm_up(function)
            begin = time.perf_counter()
            for _ in range(counts[name]):
                function()
            times[name].append((time.perf_counter() - begin) / counts[name])
    return {name: (statistics.median(t), min(t)) for name, t in times.items()}


def show(seconds):
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"
