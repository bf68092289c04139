"""Generated AliExpress rows as text: the raw pairs of files, and the processed ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hamur.data.aliexpress import files

# categorical_1..16: numbers of values; the maxima that public samples show, then seven flags.
CARDINALITIES = (1, 10, 4, 6, 21, 7, 50, 8, 7) + 7 * (2,)
LEVELS = 101  # numerical cells are 0.01 n, which as text has the artefacts of binary fractions
_USERS = len(files.USER_CATEGORICAL)


@dataclass(frozen=True)
class Block:
    """P pages and their n items, in page order; codes and levels are small whole numbers."""

    search_id: np.ndarray  # (P,)
    page: np.ndarray  # (n,) ascending
    user_codes: np.ndarray  # (P, 9)
    user_levels: np.ndarray  # (P, 23)
    item_codes: np.ndarray  # (n, 7)
    item_levels: np.ndarray  # (n, 40)
    draws: np.ndarray  # (n, 2) uniform, for click and conversion
    item_order: np.ndarray  # (n,) order of the rows in the item file: pages are mixed

    @property
    def codes(self) -> np.ndarray:
        return np.concatenate([self.user_codes[self.page], self.item_codes], axis=1)

    @property
    def levels(self) -> np.ndarray:
        return np.concatenate([self.user_levels[self.page], self.item_levels], axis=1)


_NUMBERS = np.array([repr(0.01 * n) for n in range(LEVELS)], object)
# Every second categorical column prints its whole numbers with a decimal point, as exports do.
_CODES = [
    np.array([f"{n}.0" if f % 2 else str(n) for n in range(size)], object)
    for f, size in enumerate(CARDINALITIES)
]


def _texts(
    codes: np.ndarray, levels: np.ndarray, first_field: int
) -> tuple[np.ndarray, np.ndarray]:
    texts = [_CODES[first_field + f][codes[:, f]] for f in range(codes.shape[1])]
    return np.stack(texts, axis=1), _NUMBERS[levels]


class _Processed:
    """AliExpress_{CC}/{part}.csv"""

    def __init__(self, out: Path, country: str, part: str):
        path = out / f"AliExpress_{country}" / f"{part}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", newline="\n", encoding="ascii")

    def __enter__(self):
        self._file.write(",".join(files.CSV_COLUMNS) + "\n")
        return self

    def __exit__(self, *_):
        self._file.close()

    def add(self, block: Block, label: np.ndarray) -> None:
        """label (n,): 0 shown, 1 clicked, 2 bought."""
        ids = block.search_id[block.page].astype(str).astype(object)[:, None]
        codes, numbers = _texts(block.codes, block.levels, 0)
        labels = np.array([["0", "0"], ["1", "0"], ["1", "1"]], object)[label]
        _write_rows(self._file, np.concatenate([ids, codes, numbers, labels], axis=1))


class _Raw:
    """{cc}_user_{part}.csv and {cc}_item_{part}.csv"""

    def __init__(self, out: Path, country: str, part: str):
        out.mkdir(parents=True, exist_ok=True)
        paths = (out / f"{country.lower()}_{side}_{part}.csv" for side in ("user", "item"))
        self._files = [path.open("w", newline="\n", encoding="ascii") for path in paths]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for file in self._files:
            file.close()

    def add(self, block: Block, label: np.ndarray) -> None:
        """label (n,): 0 shown, 1 clicked, 2 bought."""
        ids = block.search_id.astype(str).astype(object)
        users = np.empty((len(ids), files.USER_COLUMNS), object)
        users[:, 0] = ids
        self._place(
            users,
            files.USER_CATEGORICAL,
            files.USER_NUMERICAL,
            block.user_codes,
            block.user_levels,
            0,
        )
        items = np.empty((len(block.page), files.ITEM_COLUMNS), object)
        items[:, 0], items[:, -1] = ids[block.page], np.array(["0", "1", "2"], object)[label]
        self._place(
            items,
            files.ITEM_CATEGORICAL,
            files.ITEM_NUMERICAL,
            block.item_codes,
            block.item_levels,
            _USERS,
        )
        _write_rows(self._files[0], users)
        _write_rows(self._files[1], items[block.item_order])

    @staticmethod
    def _place(cells, categorical, numerical, codes, levels, first_field: int) -> None:
        codes, numbers = _texts(codes, levels, first_field)
        cells[:, np.array(categorical) - 1] = codes
        cells[:, np.array(numerical) - 1] = numbers


def _write_rows(file, cells: np.ndarray) -> None:
    file.writelines(",".join(row) + "\n" for row in cells.tolist())


WRITERS = {"raw": _Raw, "processed": _Processed}
