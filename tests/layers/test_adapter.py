"""HyperAdapter as a part of networks that know nothing of this package."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from hamur.layers import AdapterConfig, HyperAdapter

B, P, H, D = 36, 7, 6, 3
SMALL = AdapterConfig.paper(rank=4, bottleneck_dim=5, hyper_dims=(8,), min_domain_rows=3)


class TwoLayers(nn.Cell):
    """A bare network of a user's own, with a cell between its two layers."""

    def __init__(self, adapted=True):
        super().__init__()
        self.first, self.last = nn.Dense(P, H), nn.Dense(H, 1)
        self.adapter = HyperAdapter(P, (H,), D, SMALL) if adapted else None

    def construct(self, x, domain):
        hidden = ops.relu(self.first(x))
        if self.adapter is not None:
            hidden = self.adapter(hidden, x, domain)
        return self.last(hidden).reshape(-1)


class TransformerBlock(nn.Cell):
    """Attention over the P columns as tokens of width H, two cells on one instance matrix."""

    def __init__(self):
        super().__init__()
        self.tokens = ms.Parameter(
            Tensor(np.random.default_rng(0).normal(0, 0.3, (P, H)), ms.float32)
        )
        self.query, self.key, self.value = (nn.Dense(H, H) for _ in range(3))
        self.norm, self.last = nn.LayerNorm((H,)), nn.Dense(H, 1)
        self.adapter = HyperAdapter(P, (H, H), D, SMALL, domain_embedding_dim=2)

    def construct(self, x, domain):
        tokens = x.expand_dims(2) * self.tokens  # (B, P, H)
        scores = ops.bmm(self.query(tokens), self.key(tokens).swapaxes(1, 2)) / H**0.5
        tokens = tokens + ops.bmm(ops.softmax(scores, -1), self.value(tokens))
        instance = self.adapter.instance(x, domain)
        hidden = self.norm(tokens.mean(1))
        hidden = self.adapter.adapter_cells[0](hidden, instance, domain)
        hidden = self.adapter.adapter_cells[1](ops.relu(hidden), instance, domain)
        return self.last(hidden).reshape(-1)


class Loss(nn.Cell):
    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, x, domain, labels):
        return ((self.network(x, domain) - labels) ** 2).mean()


def domain_data(seed=0):
    """Labels whose dependence on the first column has another sign in each domain."""
    random = np.random.default_rng(seed)
    x = random.normal(0, 1, (B, P)).astype(np.float32)
    domain = random.permutation(np.arange(B) % D).astype(np.int32)
    x[:, -1] = domain
    labels = (x[:, 0] * (domain - 1)).astype(np.float32)
    return Tensor(x), Tensor(domain), Tensor(labels)


@pytest.mark.parametrize("network_class", [TwoLayers, TransformerBlock])
def test_a_foreign_network_trains_and_stays_batch_invariant(network_class, compiled):
    x, domain, labels = domain_data()
    network = network_class()
    assert any(p.name.startswith("adapter.") for p in network.trainable_params())
    step = nn.TrainOneStepCell(Loss(network), nn.Momentum(network.trainable_params(), 0.05, 0.9))
    step.set_train()
    losses = [float(step(x, domain, labels).asnumpy()) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    network.set_train(False)
    whole = network(x, domain).asnumpy()
    order = np.random.default_rng(1).permutation(B)
    shuffled = network(Tensor(x.asnumpy()[order]), Tensor(domain.asnumpy()[order])).asnumpy()
    np.testing.assert_allclose(shuffled, whole[order], atol=1e-6)
    single = network(x[:1], domain[:1]).asnumpy()
    np.testing.assert_allclose(single, whole[:1], atol=1e-6)


def adapter_inputs(rows=(4, 4, 4)):
    random = np.random.default_rng(2)
    hidden, embedded = (random.normal(0, 1, (sum(rows), n)).astype(np.float32) for n in (H, P))
    return Tensor(hidden), Tensor(embedded), Tensor(np.repeat(np.arange(D), rows).astype(np.int32))


@pytest.mark.parametrize("rows", [(4, 4, 4), (6, 0, 6)])
def test_sorted_rows_with_counts_equal_any_composition(rows):
    inputs, adapter = adapter_inputs(rows), HyperAdapter(P, (H,), D, SMALL)
    selected = adapter(*inputs).asnumpy()
    np.testing.assert_allclose(adapter(*inputs, None, rows).asnumpy(), selected, atol=1e-6)
    ones = Tensor(np.ones(12, np.float32))
    np.testing.assert_array_equal(adapter(*inputs, ones).asnumpy(), selected)


def test_zero_scale_is_the_identity():
    hidden, embedded, domain = adapter_inputs()
    adapter = HyperAdapter(P, (H,), D, dataclasses.replace(SMALL, gamma_init=0.0))
    np.testing.assert_array_equal(adapter(hidden, embedded, domain).asnumpy(), hidden.asnumpy())


def test_running_statistics_are_part_of_the_checkpoint():
    names = {p.name for p in HyperAdapter(P, (H,), D, SMALL).get_parameters()}
    assert {"adapter_cells.0.norm.mean", "adapter_cells.0.norm.variance"} <= names


def test_a_hidden_vector_of_another_width_is_named():
    hidden, embedded, domain = adapter_inputs()
    adapter = HyperAdapter(P, (H + 3,), D, SMALL)
    with pytest.raises(ValueError, match=r"6.*9"):
        adapter(hidden, embedded, domain)


@pytest.mark.parametrize("quotas", [(4, 5, 2), (12,), (4, 4, 4, 0)])
def test_quotas_of_another_number_of_rows_or_domains_are_named(quotas):
    hidden, embedded, domain = adapter_inputs()
    adapter = HyperAdapter(P, (H,), D, SMALL)
    with pytest.raises(ValueError, match=r"quotas are \(.*3 domains and 12 rows"):
        adapter(hidden, embedded, domain, None, quotas)


@pytest.mark.parametrize(
    "sizes",
    [
        {"input_dim": 0},
        {"hidden_dims": (4, 0)},
        {"hidden_dims": ()},
        {"hidden_dims": H},
        {"num_domains": 0},
        {"input_dim": -3},
    ],
    ids=str,
)
def test_sizes_below_one_are_errors(sizes):
    arguments = {"input_dim": P, "hidden_dims": (H,), "num_domains": D} | sizes
    with pytest.raises(ValueError, match=next(iter(sizes))):
        HyperAdapter(**arguments, config=SMALL)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(name, "nonsense") for name in ("side", "init", "instance_head", "cell_bias", "affine")],
        *[(name, "nonsense") for name in ("norm_group", "norm_inference", "norm_variance")],
        *[(name, "nonsense") for name in ("tower_rows", "batches")],
        *[("rank", 0), ("bottleneck_dim", -1), ("hyper_dims", (4, 0)), ("adapter_layers", (0,))],
        *[("min_domain_rows", -1), ("bn_repeat", -1), ("embedding_std", 0.0)],
    ],
    ids=str,
)
def test_a_wrong_switch_names_itself_and_the_valid_values(field, value):
    with pytest.raises(ValueError, match=field) as error:
        AdapterConfig.paper(**{field: value})
    assert repr(value) in str(error.value)
    if value == "nonsense":
        assert getattr(AdapterConfig.paper(), field) in str(error.value)
        assert getattr(AdapterConfig.official(), field) in str(error.value)


def test_an_unknown_switch_is_an_error():
    with pytest.raises(TypeError, match="sidee"):
        AdapterConfig.paper(sidee="shared")
