"""Adding a backbone costs one file and one entry of the dict of backbones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hamur

TOY_FILE = '''
"""squared, squared_adp: towers over the embedded instance and its square."""

from mindspore import ops

from hamur.layers.routing import dispatch
from hamur.models.ranking import RankingModel


class SquaredTowers(RankingModel):
    """logit_d = Dense(hidden blocks([e | e * e]), 1) of domain d."""

    towers_per_domain = True

    def add_layers(self, rng):
        self.add_deep(rng, 2 * self.instance_width)

    def network(self, embeddings, dense, layout, context):
        e = self.join(embeddings, dense)
        xs = dispatch(ops.concat((e, e * e), -1), layout)
        return self.output(self.deep(xs, layout, context), layout)
'''

USE = """
import numpy as np
from hamur import models, training
from hamur.data.table import Table
from tests.support import networks

assert {"squared", "squared_adp"} <= set(models.RANKING), sorted(models.RANKING)
batch = networks.make_batch(networks.sorted_domains(10, 9, 12))
table = Table(batch["sparse"], batch["dense"], batch["labels"][:, None], batch["domain"])
sizes = {"embed_dim": 3, "hidden_dims": (8, 6)}
model = models.RANKING["squared_adp"](networks.make_schema(), preset="paper", **sizes)
trainer = training.Trainer(training.supervised_step, epochs=1, batch_size=16, quiet=True)
trainer.fit(model, table, table)
scores = training.predict(model, table)
np.testing.assert_allclose(training.predict(model, table.take([5])), scores[[5]], atol=1e-6)
print("trained", models.parameter_counts(model)["parameters"])
"""


def test_a_toy_backbone_touches_one_file_and_one_entry(tmp_path):
    """A copy of the package with both additions: the model is listed, trains and predicts."""
    shutil.copytree(Path(hamur.__file__).parent, tmp_path / "hamur")
    shutil.copytree(Path(__file__).parents[1], tmp_path / "tests")
    (tmp_path / "hamur/models/squared.py").write_text(TOY_FILE)
    listing = tmp_path / "hamur/models/__init__.py"
    text = listing.read_text()
    assert text.count("BACKBONES = Networks(") == 1
    entry = '"mlp": "mlp.MultiDomainMLP",'
    listing.write_text(text.replace(entry, f'"squared": "squared.SquaredTowers", {entry}'))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stdout
