"""Every switch of AdapterConfig flips alone from both presets and trains."""

import numpy as np
import pytest

from hamur import training
from hamur.data.table import Table
from tests.models.test_against_oracle import SWITCHES, flipped
from tests.support import networks


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "official"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_three_steps_with_every_switch(switch, preset, compiled):
    order = 2 * list(SWITCHES).index(switch) + (preset == "official")
    name = networks.ADAPTED[order % 3]
    assert np.isfinite(losses_of_three_steps(name, flipped(switch, preset))).all()


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("mlp_adp", networks.paper(batches="shuffle")),
        ("wd_md_adp", networks.official(batches="quota")),
        ("dcn_md_adp", networks.best(embedding_dropout=0.2)),
    ],
    ids=["paper shuffled", "official by quota", "best with dropout"],
)
def test_three_compiled_steps(name, config, compiled):
    assert np.isfinite(losses_of_three_steps(name, config, dropout=0.2)).all()


def losses_of_three_steps(name, config, **sizes):
    model = networks.make_model(name, config, **sizes)
    batch = networks.make_batch(networks.sorted_domains(12, 3, 10))
    table = Table(
        *(batch[part] for part in ("sparse", "dense")),
        labels=batch["labels"][:, None],
        domain=batch["domain"],
        weight=batch["weight"],
    )
    quotas = (12, 3, 10) if model.batches == "quota" else None
    optimizer = training.Adam(model.parameter_groups(), weight_decay=1e-5)
    step = training.supervised_step(model, optimizer, quotas, 0)
    return [float(step(table, 1e-2, number).asnumpy()) for number in range(3)]
