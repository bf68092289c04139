"""The kernels of a compiled step: their number, their time, and their place in the source."""

import csv
import tempfile
from collections import Counter
from pathlib import Path

PROFILED_STEPS = 10
DEAREST = 20  # kinds and kernels that are listed


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


def number_line(kernels, shown=12):
    """'322: 95 Mul, 44 MatMul, ..., 12 others', with the most frequent kinds."""
    numbers, _ = by_kind(kernels)
    common = numbers.most_common(shown)
    parts = [f"{n:.0f} {kind}" for kind, n in common]
    others = numbers.total() - sum(n for _, n in common)
    parts += [f"{others:.0f} others"] if others else []
    return f"{numbers.total():.0f}: {', '.join(parts)}"


def print_profile(kernels):
    """Time by kind of kernel, then the dearest kernels with their place."""
    numbers, times = by_kind(kernels)
    print(f"  {times.total():.2f} ms in {numbers.total():.0f} kernels a step, by kind:")
    for kind, milliseconds in times.most_common(DEAREST):
        print(f"    {milliseconds:8.3f} ms  {numbers[kind]:4.0f}  {kind}")
    print(f"  the {DEAREST} dearest kernels:")
    for kind, place, _, milliseconds in kernels[:DEAREST]:
        print(f"    {milliseconds:8.3f} ms  {kind}  {place}")
