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


def interleave(contenders, seconds=float(__import__("os").environ.get("TCF_BENCH_SECONDS", 2)), least=7):
    """contenders: {name: function}; returns {name: (median, best)} in seconds per call."""
    counts = {name: calls_per_turn(function) for name, function in contenders.items()}
    times = {name: [] for name in contenders}
    end = time.perf_counter() + seconds * len(contenders)
    while time.perf_counter() < end or min(map(len, times.values())) < least:
        for name, function in contenders.items():
            time.sleep(0.001)  # lets the other libraries' spinning threads go to sleep
            function()         # and wakes this one's
            begin = time.perf_counter()
            for _ in range(counts[name]):
                function()
            times[name].append((time.perf_counter() - begin) / counts[name])
    return {name: (statistics.median(t), min(t)) for name, t in times.items()}


def show(seconds):
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"
