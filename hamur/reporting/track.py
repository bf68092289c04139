"""The figures of every epoch as files of TensorBoard, for --track."""

import numbers
from pathlib import Path

OF_TRAINING = ("loss", "seconds", "rows_per_second")  # of a row of history.csv; others: validation


class Track:
    """A hook of `Trainer`, which writes what each epoch has in history.csv to a folder.

    A training that begins or continues replaces the files of an earlier one by all its epochs, so
    that none is there twice, whatever it was killed at.
    """

    def __init__(self, folder: Path, learning_rate: float):
        self.folder, self.learning_rate = Path(folder), learning_rate
        self.writer, self.written = None, 0

    def __call__(self, run) -> None:
        if self.writer is None:
            from tensorboardX import SummaryWriter

            for old in self.folder.glob("events.out.tfevents.*"):
                old.unlink()
            self.writer = SummaryWriter(str(self.folder))
        epochs = [row for row in run.history if row.get("kind", "epoch") == "epoch"]
        for row in epochs[self.written :]:
            self.written += 1
            self._add("training", "learning_rate", self.learning_rate)
            for name, value in row.items():
                if name != "epoch" and isinstance(value, numbers.Real):
                    self._add("training" if name in OF_TRAINING else "validation", name, value)
        self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def _add(self, part: str, name: str, value: float) -> None:
        self.writer.add_scalar(f"{part}/{name}", value, self.written)
