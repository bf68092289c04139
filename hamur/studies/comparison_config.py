"""Options of the comparison of models, and the configuration of each of its runs."""

import dataclasses
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hamur.commands.own_table import RankingTable, load_own, published_loader, table_flag
from hamur.commands.script import told_fields
from hamur.config import hidden, model_flag, run_flag, shared, training_flag
from hamur.models import RANKING

SCRIPT = "compare_models"
BASELINE = "domain_feature"
NAME = re.compile(r"(\w+?)(\+adapter)?(?:@(\w+))?")
LOADERS = {"ml-1m": "load_movielens", "ali-ccp": "load_ali_ccp", "aliexpress": "load_aliexpress"}
REMEDY = "choose another --save_dir, or remove the folder of this run"
# Flags that change no run: the command of the report leaves them out.
ASIDE = ("jobs", "save_dir", "quiet", "debug", "verify", "device", "config")


@dataclass(frozen=True)
class GridRun(RankingTable):
    """One run: a table, a published data set, or its sample."""

    dataset: str | None = table_flag(
        None,
        "a published data set; without --dataset_path its bundled generated sample",
        choices=LOADERS,
        default_text="recognised by the files",
    )
    dataset_path: str | None = dataclasses.field(
        default=None,
        metadata=RankingTable.__dataclass_fields__["dataset_path"].metadata
        | dict(default_text="the sample of --dataset, or of ml-1m"),
    )

    def loader(self) -> Callable:
        """path -> (Splits, Schema)."""
        from hamur import data

        if self.dataset is None and self.dataset_path is not None:
            return published_loader(self) or partial(load_own, self)
        loader = getattr(data, LOADERS[self.dataset or "ml-1m"])
        return partial(loader, labels=("click",)) if self.dataset == "aliexpress" else loader


def names_in(text: str) -> tuple[str, ...]:
    """The models in a,b,c.  Raises ValueError: an empty name, as of a variable that is not set."""
    names = tuple(text.split(","))
    if not all(names):
        raise ValueError(f"an empty name in {text!r}")
    return names


@dataclass(frozen=True)
class ComparisonConfig(GridRun):
    """Options of the comparison, and those that every run of it takes.

    Raises:  ValueError: an unknown model, one that is named twice, or another wrong option.
    """

    models: tuple[str, ...] = model_flag(
        (),
        "what to compare, comma separated: names, name+adapter, name@other for one that is widened "
        f"to the parameters of the other; of {', '.join(RANKING)}",
        parse=names_in,
        default_text="all of these",
    )
    baseline: str = model_flag(BASELINE, "what the others are compared with; it is trained too")
    seeds: int = training_flag(10, "runs of each model: --seed, --seed + 1, ...", at_least=1)
    seed: int = shared(
        "seed", help="the first of the seeds, and that of --search; never that of the split"
    )
    search: int = shared(
        "search",
        help="trials of a search for each model, whose options its runs take; 0 = those of the "
        "preset",
    )
    search_rows: int | None = training_flag(
        None,
        "training rows of a trial, drawn at random by --split_seed; the two best and the preset "
        "are trained on all rows then",
        at_least=2,
        default_text="all",
    )
    jobs: int = run_flag(1, "runs at a time, each with its own share of the cores", at_least=1)
    save_dir: str = shared("save_dir", f"runs/{SCRIPT}", default_text=None)
    model_name: str = hidden(GridRun, "model_name")
    adapter: bool = hidden(GridRun, "adapter")
    match_parameters: str | None = hidden(GridRun, "match_parameters")
    init_from: str | None = hidden(GridRun, "init_from")
    add_domain: tuple[str, ...] = hidden(GridRun, "add_domain")
    like: str | None = hidden(GridRun, "like")
    replay: float = hidden(GridRun, "replay")
    train_only: str = hidden(GridRun, "train_only")
    fresh_ids: bool = hidden(GridRun, "fresh_ids")
    init_seed: int | None = hidden(GridRun, "init_seed")
    resume: bool = hidden(GridRun, "resume")
    overwrite: bool = hidden(GridRun, "overwrite")
    save_predictions: bool = hidden(GridRun, "save_predictions")
    plot: bool = hidden(GridRun, "plot")

    def __post_init__(self):
        super().__post_init__()
        for name in self.names:
            self.run(name, self.seed)  # refuses a wrong name, and options that a model has not
        if len(set(self.names)) < len(self.names):
            raise ValueError("--models names a model twice; leave one out.")
        if self.search_rows is not None and not self.search:
            raise ValueError("--search_rows is of the trials of --search; give that too.")

    @property
    def names(self) -> tuple[str, ...]:
        """Of all models, the baseline included."""
        names = self.models or tuple(RANKING)
        return names if self.baseline in names else (*names, self.baseline)

    def run(self, name: str, seed: int, **changes) -> GridRun:
        """The configuration of one run; changes: of its options."""
        parts = NAME.fullmatch(name)
        if parts is None or not {parts[1], parts[3] or parts[1]} <= set(RANKING):
            raise ValueError(
                f"{name!r} of --models or --baseline is no model; write NAME, NAME+adapter or "
                f"NAME@OTHER with names of {', '.join(RANKING)}."
            )
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(GridRun)}
        options |= dict(model_name=parts[1], adapter=parts[2] is not None)
        options |= dict(match_parameters=parts[3], seed=seed, resume=True, save_predictions=True)
        options |= dict(save_dir=str(Path(self.save_dir) / "runs" / f"{name}-{seed}"), quiet=False)
        return GridRun(**(options | dict(search=0) | changes))


def as_command(config: ComparisonConfig) -> str:
    """The command that makes the same leaderboard elsewhere: every flag that has not its default,
    but those that change no run."""
    words = ["python", f"examples/{SCRIPT}.py"]
    for field in told_fields(type(config)):
        value = getattr(config, field.name)
        if value == field.default or field.name in ASIDE:
            continue
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        if isinstance(value, bool):
            text = str(int(value))
        words += [f"--{field.name}", text]
    return shlex.join(words)
