"""The kernels of a compiled step: their number, their time, and their place in the source."""

import csv
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

PROFILED_STEPS = 10
DEAREST = 20  # kinds and kernels that are listed
RARE = 5  # kinds of fewer kernels are not named in a line


def kernels_of(step, steps=PROFILED_STEPS):
    """Call a warm step so many times under MindSpore's profiler.

    Returns a list of (kind, place, kernels in a step, milliseconds in a step), dearest first.
    """
    import mindspore as ms

    with tempfile.TemporaryDirectory() as folder:
        profiler = ms.Profiler(output_path=folder, start_profile=False)
        profiler.start()
        for _ in range(steps):
            step()
        profiler.stop()
        (path,) = Path(folder).glob("*/FRAMEWORK/cpu_op_detail_info_*.csv")
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    found = [
        (
            row["op_type"],
            row["full_op_name"],
            int(row["op_occurrences"]) / steps,
            float(row["op_total_time(ms)"]) / steps,
        )
        for row in rows
    ]
    return sorted(found, key=lambda kernel: -kernel[3])


def by_kind(kernels):
    """(Counter of kernels, Counter of milliseconds) in a step by kind."""
    numbers, times = Counter(), Counter()
    for kind, _, number, milliseconds in kernels:
        numbers[kind] += number
        times[kind] += milliseconds
    return numbers, times


def number_line(name, kernels):
    """'mlp: 404 kernels a step: 98 Mul, 87 MatMul, ...'"""
    numbers, _ = by_kind(kernels)
    parts = [f"{n:.0f} {kind}" for kind, n in numbers.most_common() if n >= RARE]
    rare = sum(n for n in numbers.values() if n < RARE)
    parts += [f"{rare:.0f} of rarer kinds"] if rare else []
    text = f"{name}: {numbers.total():.0f} kernels a step: {', '.join(parts)}"
    return textwrap.fill(text, 100, subsequent_indent="    ")


def print_profile(kernels):
    """Time by kind of kernel, then the dearest kernels with their place."""
    numbers, times = by_kind(kernels)
    print(f"  {times.total():.2f} ms in {numbers.total():.0f} kernels a step, by kind:")
    for kind, milliseconds in times.most_common(DEAREST):
        print(f"    {milliseconds:8.3f} ms  {numbers[kind]:4.0f}  {kind}")
    print(f"  the {DEAREST} dearest kernels:")
    for kind, place, _, milliseconds in kernels[:DEAREST]:
        print(f"    {milliseconds:8.3f} ms  {kind}  {place}")
