"""Times as whole numbers of some unit since 1970 or as ISO text, of which seconds are made.

Without a zone a time is UTC.  Fractions of a second are cut off in the end, whatever the form.
"""

from decimal import Decimal

import numpy as np
import pandas as pd

EARLIEST, LATEST = 10**8, 4 * 10**9  # of plausible times, in seconds
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
EXPECTED = "s, ms, us or ns since 1970, or an ISO date or time, of 1973 to 2096"
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_PLAIN = r"[0-9]{1,18}(\.[0-9]*)?"
_ISO = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?"


def numbers_of(texts: pd.Series, unit: str | None) -> tuple[np.ndarray, np.ndarray]:
    """(N,) int64 numbers of a unit, and (N,) bool whether the text is such a number, in any
    notation, or an ISO time.

    unit: of the numbers, and so of what ISO times become; None: these become seconds.
    """
    plain = texts.str.fullmatch(_PLAIN).to_numpy(bool)
    values = texts.where(plain, "0").str.replace(r"\..*", "", regex=True).astype(np.int64)
    values, right, other = values.to_numpy().copy(), plain.copy(), np.flatnonzero(~plain)
    if len(other):
        rest = texts.iloc[other]
        iso = rest.where(rest.str.fullmatch(_ISO), "")
        iso = pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)
        seconds = iso.to_numpy().astype("datetime64[s]").astype(np.int64)
        values[other], right[other] = in_unit(seconds, unit)
        for row in other[rest.str.fullmatch(NUMBER).to_numpy(bool)]:
            text = texts.iloc[row]
            # As a faster reader takes the powers: what the block holds besides decides who reads.
            number = Decimal(float(text) if "e" in text.lower() else text)
            right[row] = 0 <= number < 2**63
            values[row] = int(number) if right[row] else 0
    return values, right


def in_unit(seconds: np.ndarray, unit: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (N,) int64 in a unit, None: as they are; and (N,) bool whether they are plausible, 0
    where not."""
    right = (seconds >= EARLIEST) & (seconds <= LATEST)
    return np.where(right, seconds, 0) * PER_SECOND[unit or "s"], right


def unit_of(times: np.ndarray) -> str | None:
    """The unit in which most of these whole numbers are plausible, None where none is in any."""
    plausible = {unit: int(is_plausible(times, unit).sum()) for unit in UNITS}
    unit = max(plausible, key=plausible.get)
    return unit if plausible[unit] else None


def seconds(values: np.ndarray) -> np.ndarray:
    """(N,) int64 of times of any unit; numbers that are no times as they are."""
    unit = unit_of(values)
    return values if unit in (None, "s") else values // PER_SECOND[unit]


def is_plausible(times: np.ndarray, unit: str) -> np.ndarray:
    """(N,) bool."""
    seconds = times // PER_SECOND[unit]
    return (seconds >= EARLIEST) & (seconds <= LATEST)


def expected(value: object, unit: str = "s") -> str:
    """What a time should have been, with a guess at what it is."""
    number = isinstance(value, int | np.integer) and 0 <= value < 2**63
    looks = unit_of(np.array([value])) if number else None
    hint = "" if looks in (None, unit) else f"; these look like {UNITS[looks]}"
    ticks = PER_SECOND[unit]
    return f"whole {UNITS[unit]} since 1970, {EARLIEST * ticks}..{LATEST * ticks}{hint}"
