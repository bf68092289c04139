"""The study on generated pairs whose harmful source behaviours are known: do learned weights find
them, and does the target gain?

For every seed a pair of its own is generated, or every seed trains on each of --pairs; all arms
then see the same rows, initial weights and batches.  All figures are of synthetic data.  The plant
goes by source category, so that a category bias has an easy task: --category_bias 0 is the harder
one.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamur.commands import cross_domain
from hamur.commands.cross_domain_data import read_truth
from hamur.commands.script import command, select_device
from hamur.config import from_flags
from hamur.reporting.compare import write_comparison
from hamur.training.bilevel.config import CrossDomainConfig
from hamur.training.bilevel.presets import data_flag

ALL_ARMS = "conet_s,uniform,annealed,scalar,item,perceptron,oracle"
PAIR = ("SynBooks", "SynToys")
PUBLISHED_RATE = 1e-2
STUCK_LOSS, STUCK_EPOCH, OTHER_SEED = 0.69, 8, 100
DEFAULTS = dict(
    exp_name="planted", arms=ALL_ARMS, seeds="0,1,2", source_pool="before_valid", interval=10,
    meta_batchsize=512, upper_batchsize=2048, epochs=16, patience=0, embedding_decay=0.3,
    start_gain=0.02, hplr=0.03,
)  # fmt: skip


@dataclass(frozen=True)
class PlantedConfig(CrossDomainConfig):
    """Options of the study: those of a run, and of the generator."""

    pairs: str | None = data_flag(
        None,
        "generator seeds of the pairs, as 0,1,2; every one of --seeds trains on each",
        default_text="one pair a seed",
    )
    users: int = data_flag(2000, "users of a generated pair", at_least=50)
    plant: str = data_flag(
        "independent",
        "rating of harmful behaviours: by another preference, at random, or the wrong way round",
        choices=("independent", "random", "invert"),
    )
    harmful_categories: int = data_flag(
        8, "harmful ones of the 12 source categories", at_least=1, below=13
    )


def main(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the study; returns the exit code."""
    config = from_flags(PlantedConfig, argv, description, **DEFAULTS)
    with command(script, config.debug) as outcome:
        study(config, Path(script).stem)
    return outcome.code


def study(config: PlantedConfig, script: str) -> None:
    """All arms on every pair, and the table that compares them."""
    config = config.resolved()
    runs = cross_domain.plan(config)
    pairs = [None] if config.pairs is None else cross_domain.seed_list("--pairs", config.pairs)
    select_device(config.device)
    by_seed: dict[int, list] = {}
    for each, _ in runs:
        by_seed.setdefault(each.seed, []).append(each)
    content = []
    for seed, arms in by_seed.items():
        for pair in pairs:
            found = one_seed(arms, seed, pair, config, script)
            if any(stuck(each) for each in found):
                print(
                    f"seed {seed}: an arm had a training loss above {STUCK_LOSS} after epoch "
                    f"{STUCK_EPOCH}; replaced by seed {seed + OTHER_SEED} for all arms"
                )
                found = one_seed(arms, seed + OTHER_SEED, pair, config, script)
            content += found
    folder = Path(config.record) / "planted" / "log" / config.exp_name
    write_comparison(folder, content)


def one_seed(
    arms: list, seed: int, number: int | None, config: PlantedConfig, script: str
) -> list[dict]:
    """metrics.json of every arm on one pair, that of the seed where it has no number."""
    from hamur.data import load_amazon_pair
    from hamur.data.synthetic.amazon import make_amazon_pair

    record = Path(config.record) / "planted"
    drawn = seed if number is None else number
    folder = record / "data" / f"{config.plant}-{config.users}-{config.harmful_categories}-{drawn}"
    truth = folder.with_name(folder.name + ".truth.npz")
    if not truth.exists():
        make_amazon_pair(
            folder, config.users, drawn, PAIR, config.plant, config.harmful_categories
        )  # fmt: skip
    pair = load_amazon_pair(folder, pair=PAIR, vocabulary=config.vocab)
    harmful = read_truth(str(truth), pair)
    found = []
    for each in arms:
        each = dataclasses.replace(each, seed=seed, in_root=str(folder), truth=str(truth))
        if each.arm == "annealed":  # is the published decay alone
            each = dataclasses.replace(each, hplr=PUBLISHED_RATE)
        arm = "conet_s" if each.model_name == "conet_s" else each.arm
        name = f"{config.exp_name}/{arm}-{seed}" + ("" if number is None else f"-pair-{number}")
        content = cross_domain.run_one(each, pair, harmful, record, name, script)
        found.append({**content, "pair": number})
    return found


def stuck(content: dict) -> bool:
    """Whether the model still predicted a constant after half of the epochs."""
    losses = content["train"]["target_losses"]
    return losses[min(STUCK_EPOCH, len(losses)) - 1] > STUCK_LOSS
