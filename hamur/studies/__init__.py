"""Studies: many trainings compared in one table, each a command of its own in examples/.

A study that is started again trains only what is missing; a single training is a command of
`hamur.commands`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hamur.commands.script import command, from_flags
from hamur.config import check_fields, shared, training_flag

# Options that change no result of a single training.
CHANGEABLE = ("arms", "seeds", "seed", "dataset_path", "device", "save_dir", "quiet", "debug")


@dataclass(frozen=True)
class StudyOptions:
    """Options of every study.

    Raises:  ValueError: a number out of its range.
    """

    seeds: int = training_flag(3, "seeds of each variant", at_least=1)
    epochs: int = shared("epochs", 20, help="maximum number of passes over the training rows")
    patience: int = shared("patience", 4)
    batch_size: int = shared("batch_size", 512, help="rows per training step")
    learning_rate: float = shared("learning_rate", 1e-3)
    weight_decay: float = training_flag(1e-5, "strength of the coupled L2 term", at_least=0)
    device: str = shared("device")
    save_dir: str = shared("save_dir")
    quiet: bool = shared("quiet")
    debug: bool = shared("debug")

    def __post_init__(self):
        check_fields(self)

    def fixed(self, *changeable: str) -> dict:
        """The options that decide the result of one training."""
        options = dataclasses.asdict(self)
        return {k: v for k, v in options.items() if k not in (*CHANGEABLE, *changeable)}


def run_script(
    options: type, study: Callable, script: str, description: str, argv: Sequence[str] | None
) -> int:
    """Read the flags of a study and call study(options); returns the exit code."""
    config = from_flags(options, argv, description)
    hint = "started again, it trains only what is missing"
    return command(script, config, partial(study, config), hint)
