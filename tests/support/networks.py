"""Small networks and batches for the tests of layers and models: every size is another number."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from hamur import models, training
from hamur.data.schema import FieldSpec, Schema
from hamur.data.table import Table
from hamur.layers.routing import make_layout, single_layout
from hamur.models.published_sizes import Sizes
from tests.support import oracle

BACKBONES = ("mlp", "dcn_md", "wd_md")
ADAPTED = ("mlp_adp", "dcn_md_adp", "wd_md_adp")
MODELS = BACKBONES + ADAPTED
VOCABULARIES = (11, 7)
SIZES = Sizes(
    hidden_dims=(10, 6),
    adapter_layers=(2,),
    hyper_dims=(9,),
    rank=4,
    bottleneck_dim=5,
    cross_layers=3,
    bottom_dims=(9,),
    expert_dims=(7, 8),
    aux_dims=(5,),
    id_fields=("id_0", "id_1"),
)
# Of models that need other ones: one layer of experts, a width for four heads.
SPECIAL = {
    "sarnet": dict(expert_dims=(7,)),
    "m2m": dict(expert_dims=(7,), embed_dim=4),
    "m3oe": dict(bottom_dims=(9, 7, 7), expert_dims=(8,)),
}
EMBED_DIM = 3
NUM_DENSE = 2


def slow(cases) -> list:
    """Cases of a parametrised test that only the slow run has; others cover the same code."""
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


@pytest.fixture(autouse=True)
def eager():
    """Run without compiling; the session's graph mode comes back afterwards."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


KERNEL_FORMS = ("fused", "plain")


@pytest.fixture(autouse=True)
def kernel_form(request, monkeypatch):
    """Models built in a test call the fused kernels (where there are), or MindSpore's own."""
    if getattr(request, "param", "fused") == "plain":
        monkeypatch.setattr("hamur.kernels.enabled", lambda: False)


@pytest.fixture
def compiled(eager):
    """Run compiled, as training does."""
    ms.set_context(mode=ms.GRAPH_MODE)


def make_schema(num_domains=3, name="toy") -> Schema:
    fields = [FieldSpec(f"id_{i}", "sparse", v) for i, v in enumerate(VOCABULARIES)]
    fields += [FieldSpec("domain_indicator", "sparse", num_domains)]
    fields += [FieldSpec(f"dense_{i}", "dense") for i in range(NUM_DENSE)]
    names = tuple(f"domain {d}" for d in range(num_domains))
    return Schema(name, tuple(fields), ("click",), names, "domain_indicator")


def make_model(name, config, num_domains=3, seed=5, schema=None, **sizes):
    """A model of the toy sizes without dropout; keyword arguments replace fields of SIZES."""
    base = name.removesuffix("_adp")
    changed = dataclasses.replace(
        SIZES, **({"embed_dim": EMBED_DIM} | SPECIAL.get(base, {}) | sizes)
    )
    config = dataclasses.replace(config, enabled=name != base)
    return models.BACKBONES[base](schema or make_schema(num_domains), changed, config, seed)


def randomise(model, seed=0, spread=0.4):
    """Draw every parameter at random, running statistics included, so that no term can hide.

    All-ones cells would amplify rounding and zero biases would hide a missing one.
    """
    random = np.random.default_rng(seed)
    for parameter in model.get_parameters():
        values = random.normal(0.0, spread, parameter.shape)
        if parameter.name.endswith(".gamma"):
            values = 1.0 + values
        if parameter.name.endswith(".variance"):
            values = random.uniform(0.5, 1.5, parameter.shape)
        parameter.set_data(Tensor(values.astype(np.float32)))
    return model


def make_batch(domain, seed=1, vocabularies=VOCABULARIES, num_dense=NUM_DENSE) -> dict:
    """Random inputs and labels for the given domain ids (B,); keys as the oracle's arguments."""
    random = np.random.default_rng(seed)
    domain = np.asarray(domain, np.int32)
    ids = [random.integers(0, size, len(domain)) for size in vocabularies]
    return {
        "sparse": np.stack([*ids, domain], axis=1).astype(np.int32),
        "dense": random.random((len(domain), num_dense)).astype(np.float32),
        "domain": domain,
        "labels": random.integers(0, 2, len(domain)).astype(np.float32),
        "weight": np.ones(len(domain), np.float32),
    }


def rows_of(batch, index) -> dict[str, np.ndarray]:
    return {name: values[index] for name, values in batch.items()}


def table_of(batch) -> Table:
    """Rows of weight 0 are kept."""
    labels, weight = batch["labels"][:, None], batch["weight"]
    return Table(batch["sparse"], batch["dense"], labels, batch["domain"], weight=weight)


def inputs(batch) -> dict[str, np.ndarray]:
    """The batch without its labels."""
    return {name: values for name, values in batch.items() if name != "labels"}


def sorted_domains(*quotas) -> np.ndarray:
    return np.repeat(np.arange(len(quotas), dtype=np.int32), quotas)


def layout_of(domain, weight=None, quotas=None, num_domains=1, tower_rows="own"):
    """The routing of rows of these domains (B,), all of weight 1 by default."""
    domain = np.asarray(domain, np.int32)
    weight = np.ones(len(domain), np.float32) if weight is None else np.asarray(weight, np.float32)
    if num_domains == 1:
        return single_layout(Tensor(domain), Tensor(weight))
    return make_layout(Tensor(domain), Tensor(weight), quotas, num_domains, tower_rows)


def arrays(model) -> dict[str, np.ndarray]:
    """A copy of every parameter, running statistics included, in float64."""
    return {p.name: p.asnumpy().astype(np.float64) for p in model.get_parameters()}


def restore(model, values) -> None:
    for parameter in model.get_parameters():
        parameter.set_data(Tensor(values[parameter.name].astype(np.float32)))


def network_of(name, model) -> oracle.Network:
    """The oracle's description of a model."""
    schema = model.schema
    return oracle.Network(
        name.removesuffix("_adp") if name not in ADAPTED else name,
        schema.vocab_sizes,
        schema.num_domains,
        model.config,
        model.adapter_layers,
    )


def lists_of(batch) -> list[Tensor]:
    return [Tensor(batch[name]) for name in ("multi_ids", "multi_weight") if name in batch]


def logits(model, batch, training=False, quotas=None) -> np.ndarray:
    """Of a batch, which has "multi_ids" and "multi_weight" where the schema has lists."""
    model.set_train(training)
    parts = (Tensor(batch[part]) for part in ("sparse", "dense", "domain", "weight"))
    out = model(*parts, quotas, (), *lists_of(batch)).asnumpy()
    model.set_train(False)
    return out


class Loss(nn.Cell):
    """Weighted logit loss of a model in the package's own tensors, for gradients."""

    def __init__(self, model, quotas=None):
        super().__init__(auto_prefix=False)  # the model's parameters keep their names
        self.model, self.quotas = model, quotas

    def construct(self, sparse, dense, domain, weight, labels, *lists):
        z = self.model(sparse, dense, domain, weight, self.quotas, (), *lists)
        each = ops.relu(z) - z * labels + ops.log1p(ops.exp(-ops.abs(z)))
        return (weight * each).sum() / weight.sum()


def loss_and_gradients(model, batch, quotas=None) -> tuple[float, dict[str, np.ndarray]]:
    """Training-mode loss and the gradient of every trainable parameter by name.

    Running statistics move as in any training-mode pass.
    """
    loss = Loss(model, quotas)
    loss.set_train()
    parameters = model.trainable_params()
    names = ("sparse", "dense", "domain", "weight", "labels")
    function = ms.value_and_grad(loss, None, parameters)
    value, gradients = function(*(Tensor(batch[name]) for name in names), *lists_of(batch))
    model.set_train(False)
    found = {p.name: g.asnumpy() for p, g in zip(parameters, gradients, strict=True)}
    return float(value.asnumpy()), found


def supervised_steps(model, batch, steps, rate=1e-3, weight_decay=1e-5) -> list[float]:
    """Losses of the first steps of supervised training on one batch, sorted by domain."""
    quotas = tuple(np.bincount(batch["domain"]).tolist()) if model.batches == "quota" else None
    optimizer = training.Adam(model.parameter_groups(), weight_decay)
    step = training.supervised_step(model, optimizer, quotas, 0)
    losses = [float(step(table_of(batch), rate, n).asnumpy()) for n in range(steps)]
    model.set_train(False)
    return losses
