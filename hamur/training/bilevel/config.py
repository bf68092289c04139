"""Options of cross-domain training: flags, presets, and a JSON file in between."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from hamur.config import check_fields
from hamur.training.bilevel.data_flags import DataFlags
from hamur.training.bilevel.estimators import CONJUGATE
from hamur.training.bilevel.model_flags import ModelFlags
from hamur.training.bilevel.presets import DEAD_KEYS, MODELS, PRESETS, run_flag
from hamur.training.bilevel.upper_flags import UpperFlags

UPDATES_PER_EPOCH = 10


@dataclass(frozen=True)
class CrossDomainConfig(UpperFlags, ModelFlags, DataFlags):
    """Options of the cross-domain script; None = the preset's value, or resolved later.

    Raises:  ValueError: a value that its flag does not allow, or two that exclude each other.
    """

    exp_name: str = run_flag("debug", "name of the run")
    record: str = run_flag("conet_record", "folder of all records")
    arms: str | None = run_flag(
        None, "several arms, as uniform,perceptron; also conet_s", default_text="the one arm"
    )
    seeds: str | None = run_flag(None, "several seeds, as 0,1,2", default_text="the one seed")
    resume: bool = run_flag(False, "go on with the interrupted run of this name")
    overwrite: bool = run_flag(False, "replace an earlier run of this name")
    export_mindir: bool = run_flag(False, "also write the target scorer as a MindIR file")
    device: str = run_flag("cpu", "cpu, gpu or ascend, with a card number as in ascend:1")
    quiet: bool = run_flag(False, "print nothing but the table of results")
    debug: bool = run_flag(False, "show the traceback of an error in data or options")

    def __post_init__(self):
        check_fields(self)
        if not self.pre_epoch >= -1:
            raise ValueError(f"--pre_epoch must be at least -1, got {self.pre_epoch}.")
        draws = self.eval_draws
        if draws is not None and draws != "all" and not (draws.isdigit() and int(draws)):
            raise ValueError(f"--eval_draws is {draws!r}; a number from 1, or all.")

    @property
    def learns(self) -> bool:
        """Whether there is an upper level."""
        return self.arm in ("scalar", "item", "perceptron")

    def resolved(self) -> "CrossDomainConfig":
        """A copy with every value that training uses: preset, then the file, then flags; all but
        what depends on the data, see `fitted`.

        Raises:  ValueError: options that exclude each other, an unknown or dead key in the file.
        """
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        from_file = read_options(self.config) if self.config else {}
        values = {
            name: from_file[name] if value == defaults[name] and name in from_file else value
            for name, value in given.items()
        }
        for name, value in PRESETS[values["preset"]].items():
            if values[name] is None:
                values[name] = value
        if values["upper_batchsize"] is None:
            values["upper_batchsize"] = values["meta_batchsize"]
        if values["damping"] is None:
            values["damping"] = 0.1 if values["estimator"] in CONJUGATE else 0.0
        if values["gate_start"] is None:
            values["gate_start"] = "zero" if values["combine"] == "gated" else "random"
        if values["gate_start"] == "zero" and values["combine"] == "product":
            raise ValueError(
                "--gate_start zero goes with --combine gated: a product with 0 has no gradient."
            )
        values |= model_of(values)
        return dataclasses.replace(self, **values)

    def fitted(self, train_rows: int) -> "CrossDomainConfig":
        """A resolved copy whose interval, where none was given, suits the number of target training
        rows: ten upper updates an epoch, 10 to 100 lower steps apart."""
        steps = train_rows // self.t_batchsize
        interval = self.interval or min(max(steps // UPDATES_PER_EPOCH, 10), 100)
        # one knob of the paper: "interval/descent_step"
        descent_step = self.descent_step or interval
        return dataclasses.replace(self, interval=interval, descent_step=descent_step)


def model_of(values: dict) -> dict:
    """model_name, use_meta, only_target and arm, made consistent.

    Raises:  ValueError: two of them exclude each other.
    """
    name, arm = values["model_name"], values["arm"]
    if values["only_target"]:
        name = "conet_s"
    elif values["use_meta"] == 0 and name == "conet_biao":
        name = "conet"
    elif values["use_meta"] == 1 and name == "conet":
        name = "conet_biao"
    if name == "conet_s" and arm not in (None, "uniform"):
        raise ValueError(f"--arm {arm} needs the source tower, which --model_name conet_s lacks.")
    if values["use_meta"] == 0 and arm in ("scalar", "item", "perceptron"):
        raise ValueError(f"--use_meta 0 learns no weights, but --arm is {arm}; leave one out.")
    if values["use_meta"] == 1 and arm in ("uniform", "annealed", "oracle"):
        raise ValueError(f"--use_meta 1 learns weights, but --arm {arm} does not; leave one out.")
    arm = arm or MODELS[name]
    learns = int(arm in ("scalar", "item", "perceptron"))
    return dict(
        model_name=name, arm=arm, use_meta=learns, only_target=int(name == "conet_s")
    )  # fmt: skip


def read_options(path: str) -> dict:
    """The options of a JSON file.

    Raises:  ValueError: no JSON object, or a key that is none of ours; FileNotFoundError.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--config {path}: no JSON ({error}).") from None
    if not isinstance(options, dict):
        raise ValueError(f"--config {path} holds no object but {type(options).__name__}.")
    known = [f.name for f in dataclasses.fields(CrossDomainConfig)]
    for name in options:
        if name not in known:
            dead = " It had no effect in the public code; remove it." if name in DEAD_KEYS else ""
            raise ValueError(
                f"--config {path}: unknown key {name!r}.{dead} Known: {', '.join(known)}."
            )
    CrossDomainConfig(**options)  # the rules of the flags hold for the file too
    return options
