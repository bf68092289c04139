"""How much memory a training will take, told before its first step.

    now + a compiled graph + copies x parameters + 0.8 x widths x rows        (float32)

copies: of all parameters.  Adam's two moments, the best weights, those that replace them at the
end, the gradients unless lazy; of averaging one more; of a state on disk those that it is made of,
twice.  widths: what the weight matrices give, the floats that a row of a batch makes in all layers;
the share of them that lives at the same time, and the size of a compiled graph, are measured.
"""

from pathlib import Path

from hamur import kernels

MIB = 2**20
COMPILED, PLAIN = 225 * MIB, 450 * MIB  # of a step and an evaluation, by the kernels they have
ALIVE = 0.8  # of the floats of a row; measured 0.4 to 1.2
FLOAT = 4
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def estimate(model, batch_rows: int, lazy: bool, averaging: bool, saving: bool) -> int | None:
    """Bytes of resident memory at the peak of a training that is about to begin; None where the
    system does not tell how much there is now."""
    groups = model.parameter_groups()
    parameters = sum(each.size for group in groups for each in group.parameters)
    matrices = [each for group in groups for each in group.parameters if each.ndim > 1]
    widths = sum(each.shape[-1] for each in matrices)
    plain = getattr(model, "batch_statistics", False) or hasattr(model, "num_tasks")
    compiled = COMPILED if kernels.enabled() and not plain else PLAIN
    copies = 5 - lazy + averaging + saving * (6 + averaging)
    now = _number("/proc/self/status", "VmRSS:")
    if now is None:
        return None
    activations = ALIVE * widths * batch_rows
    return round(now + compiled + FLOAT * (copies * parameters + activations))


def available() -> int | None:
    """Bytes that this process may still take: of the machine, or of its container."""
    free = _number("/proc/meminfo", "MemAvailable:")
    if free is None:
        return None
    for limit, used in CGROUPS:
        try:
            limit, used = (Path(path).read_text().strip() for path in (limit, used))
        except OSError:
            continue
        if limit.isdigit():  # else there is none
            free = min(free, int(limit) - int(used))
    return max(free, 0)


def check(needed: int | None) -> str | None:
    """What to say of an estimate; None where there is none.

    Raises:  ValueError: the training cannot fit.
    """
    free, now = available(), _number("/proc/self/status", "VmRSS:")
    if needed is None or free is None or now is None:
        return None
    told = f"about {_gib(needed)} of memory, of {_gib(free + now)} that there are"
    if needed > free + now:
        raise ValueError(
            f"this training takes {told}; lower `batch_size`, or set `hash_size`, which shortens "
            "the embedding tables."
        )
    return told


def _gib(number: int) -> str:
    return f"{number / 2**30:.2f} GiB"


def _number(path: str, name: str) -> int | None:
    """The bytes of a line like 'VmRSS:  1234 kB'; None where there is no such file or line."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
