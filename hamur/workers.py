"""The processes of one training, as MindSpore's launcher ``msrun`` starts them.

Every worker runs the whole script on the same rows in the same order, and computes its share of
each batch.  What layers and losses sum over the rows of a batch they sum over the workers as well
(see `hamur.layers.collectives`), and so are the gradients: a step of N workers is the step of one
process on the whole batch, up to rounding.  The first worker alone writes and prints.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NUMBER, ROLE = "MS_WORKER_NUM", "MS_ROLE"  # set by msrun
OTHER = "RANK_SIZE"  # of launchers that are not supported


class Share(NamedTuple):
    """The rows of a batch that one worker computes: as many as each other worker.

    rows: of the whole batch; order (R,): positions in it; own (R,) bool, False at a filler;
    quotas: R by domain, None for batches without.
    """

    rows: int
    order: np.ndarray
    own: np.ndarray
    quotas: tuple[int, ...] | None


def count() -> int:
    """How many processes train together, 1 without a launcher.

    Raises:  ValueError: another launcher than msrun started several.
    """
    if (number := os.environ.get(NUMBER, "")).isdigit():
        return max(1, int(number))
    if (number := os.environ.get(OTHER, "")).isdigit() and int(number) > 1:
        raise ValueError(f"{OTHER} is {number}; start several processes with msrun.")
    return 1


def rank() -> int:
    """Which of them this process is, from 0; 0 without a launcher."""
    if not connected():
        return 0
    from mindspore.communication import get_rank

    return get_rank()


def connected() -> bool:
    """Whether there are several; joins them, once in a process.  msrun's scheduler process stays
    here, and ends when they have ended.

    Raises:  ValueError: a worker did not come, or was lost.
    """
    if ROLE in os.environ:
        _connect()
    return count() > 1


@functools.cache
def _connect() -> None:
    from mindspore import communication

    with named_losses():
        communication.init()


@contextlib.contextmanager
def named_losses() -> Iterator[None]:
    """What MindSpore raises where a worker does not answer is a ValueError of one line."""
    try:
        yield
    except RuntimeError as error:
        if count() == 1:
            raise
        lines = (line.strip() for line in str(error).splitlines())
        text = next((line for line in lines if any(map(str.isalpha, line))), "no text")
        raise ValueError(
            f"a worker was lost, or did not start: {text[:200]}; start all again, with `resume`."
        ) from error


def refuse(what: str) -> None:
    """ValueError in one of several processes: this cannot be divided among them."""
    if (number := count()) > 1:
        raise ValueError(
            f"{what} cannot be divided among {number} workers; start it without msrun."
        )


def share_of(rows: int, quotas: tuple[int, ...] | None = None) -> Share | None:
    """This worker's share of batches of so many rows, which lie by domain if they have quotas;
    None where there is one process."""
    if (number := count()) == 1:
        return None
    return divided(rows, quotas, rank(), number)


def divided(rows: int, quotas: tuple[int, ...] | None, which: int, number: int) -> Share:
    """The share of worker `which` of `number`: of each domain a block of ceil(quota / number)."""
    blocks = (rows,) if quotas is None else quotas
    sizes = [-(-block // number) for block in blocks]
    order, own, start = [], [], 0
    for block, size in zip(blocks, sizes):
        places = which * size + np.arange(size)
        own.append(places < block)
        order.append(start + np.minimum(places, block - 1))
        start += block
    quotas = None if quotas is None else tuple(sizes)
    return Share(rows, np.concatenate(order), np.concatenate(own), quotas)
