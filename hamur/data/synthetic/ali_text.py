"""Generated features of Ali-CCP as text: lists in the three marks, keys, lines."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# The first raw id of a field.  Those of 12x are the real ones, the others are our choice.
FIRST_ID = {
    "101": 1, "121": 3438658, "122": 3438755, "124": 3438768, "125": 3438770, "126": 3438777,
    "127": 3438780, "128": 3864885, "129": 3864887, "205": 4_000_000, "206": 8_316_000,
    "207": 7_100_000, "210": 8_210_000, "216": 8_950_000, "508": 9_050_000, "509": 9_060_000,
    "702": 9_450_000, "853": 9_600_000, "109_14": 450_000, "110_14": 460_000, "127_14": 580_000,
    "150_14": 640_000, "301": 9_351_665,
}  # fmt: skip
_VALUES = np.array([f"{np.log1p(c):.5f}".rstrip("0") for c in range(1, 201)])
ONE = len(_VALUES)
_VALUE_TEXT = pa.array([*_VALUES, "1.0"])
VALUE_NUMBER = np.append(_VALUES.astype(float), 1.0)


def single(name: str, value: np.ndarray, number: np.ndarray | None = None) -> tuple:
    row = np.flatnonzero(value >= 0)
    return name, row, value[row], np.full(len(row), ONE) if number is None else number[row]


def draw_counts(rng: np.random.Generator, rows: int) -> np.ndarray:
    """(rows,) places in the table of ln(1 + count), small counts most often."""
    count = np.floor(1.0 / (1.0 - rng.random(rows)) ** 0.8)
    return np.minimum(count, len(_VALUES)).astype(np.int64) - 1


def feature_lists(rng, rows: int, parts: list[tuple], fields: tuple[str, ...]) -> tuple:
    """(features of each row, their text), the fields of a row in random order."""
    place = {name: number for number, name in enumerate(fields)}
    row = np.concatenate([part[1] for part in parts])
    order = np.argsort(row + rng.random(len(row)), kind="stable")
    field = np.concatenate([np.full(len(part[1]), place[part[0]]) for part in parts])[order]
    ids = np.concatenate([part[2].astype(np.int64) + FIRST_ID[part[0]] for part in parts])[order]
    value = np.concatenate([part[3] for part in parts])[order]
    text = pc.binary_join_element_wise(
        pc.binary_join_element_wise(
            pa.array([f"{name}\x02" for name in fields]).take(pa.array(field)),
            pc.cast(pa.array(ids), pa.string()),
            "",
        ),
        _VALUE_TEXT.take(pa.array(value)),
        "\x03",
    )
    counts = np.bincount(row, minlength=rows)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return counts, pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), text), "\x01")


def write_lines(file, columns: tuple) -> None:
    """Lines of comma-separated columns."""
    text = [c if isinstance(c, pa.Array) else pc.cast(pa.array(c), pa.string()) for c in columns]
    lines = pc.binary_join_element_wise(*text, ",")
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")
    file.write(joined[0].as_buffer())
    file.write(b"\n")


def hex_keys(keys: np.ndarray) -> pa.Array:
    """Sixteen lower-case hexadecimal digits each."""
    digits = keys.astype(">u8").tobytes().hex()
    return pa.array([digits[at : at + 16] for at in range(0, len(digits), 16)])


def scramble(number: np.ndarray, file: int) -> np.ndarray:
    """A bijection of 64-bit numbers (the finaliser of splitmix64), so that no two keys meet."""
    with np.errstate(over="ignore"):
        z = number + np.uint64((file * 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
