"""Lines of the log while a run trains: what the public code writes, at the same intervals."""

from collections.abc import Iterator, Mapping

import numpy as np
from mindspore import Tensor

from hamur.training.bilevel.batch import Batch

LOSS_EVERY, WEIGHTS_EVERY = 100, 1000  # lower steps
FIRST_WEIGHTS = 8


def lower_lines(session, batches: list[Batch], losses: Tensor) -> Iterator[str]:
    """Now and then, the target loss and the weights after these lower steps.

    losses: (2,) or (batches, 2), as the steps return them.
    """
    done = session.result.lower_steps

    def passed(number: int) -> bool:
        return done // number > (done - len(batches)) // number

    if passed(LOSS_EVERY):
        target = losses.asnumpy().reshape(-1, 2)[-1, 0]
        yield f"iteration {done}: target loss {target:.5f}"
    if passed(WEIGHTS_EVERY) and session.model.towers == 2:
        weights = relative_weights(session, batches[-1])
        if len(weights):
            shown = " ".join(f"{value:.3f}" for value in weights[:FIRST_WEIGHTS])
            yield (
                f"iteration {done}: weights (1 = uniform) mean {weights.mean():.3f} min "
                f"{weights.min():.3f} max {weights.max():.3f}, the first {shown}"
            )


def relative_weights(session, batch: Batch) -> np.ndarray:
    """n w of source behaviours: of the last upper update, or where nothing is learned, of the
    batch."""
    if session.upper is not None:
        return session.upper.last_weights
    weights = session.fixed_weights(batch)[0][batch.mask > 0]
    return weights / batch.share[batch.mask > 0]


def upper_line(row: Mapping) -> str:
    """Both losses of an upper update; row: its line of history.csv."""
    losses = f"main loss {row['lower_loss']:.5f}, meta loss {row['dev_loss']:.5f}"
    return f"upper update {row['update']}: {losses}"
