"""HAMUR's adapter: a bottleneck whose weights are generated for each row by a hyper-network.

For row b with domain d, hidden vector h (H), instance matrix I (K, K) (arXiv 2309.06217, section
3; row vectors):

    U_d = W_d^{ul} I W_d^{ur}     (H, M)        z  = sigmoid(h U_d + b_d)
    V_d = W_d^{vl} I W_d^{vr}     (M, H)        h' = h + DomainNorm(z V_d, d)

U and V are never built: h W^{ul} is a (K) vector, its product with I a (1, K) x (K, K) product, so
that a cell costs 2K(H + K + M) multiply-adds per row instead of HK^2 + HKM + MK^2 + MKH + 2HM.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur import kernels
from hamur.kernels.cells import Bottleneck
from hamur.layers.adapter_config import AdapterConfig
from hamur.layers.hyper_network import HyperNetwork
from hamur.layers.instance import PRODUCTS, SharedInstanceGradient, gradient_slots
from hamur.layers.mlp import add_rows, tower_product
from hamur.layers.norm import DomainBatchNorm
from hamur.layers.parameters import spared
from hamur.layers.routing import (
    bounds,
    combine,
    dispatch,
    fused,
    make_layout,
    single_layout,
    times_instance,
)

__all__ = ["AdapterCell", "AdapterConfig", "HyperAdapter", "cell_norm", "tower_norm"]

BOTTLENECK_DIM = 32  # M of the public code
PLUGIN_RANK = 16
PLUGIN_HYPER_DIMS = (64,)


def tower_norm(config, per_domain, num_domains):
    """DomainBatchNorm arguments of a backbone's hidden blocks: D towers (``per_domain``) or one
    shared network."""
    if not per_domain:
        return {"repeat": config.bn_repeat or num_domains}
    if config.tower_rows == "all":
        return {}
    group = "pooled" if config.tower_norm == "pooled" else "tower"
    return {"group": group, "min_rows": config.min_domain_rows}


def cell_norm(config):
    """DomainBatchNorm arguments of an adapter cell's norm."""
    pooled = config.norm_group == "pooled"
    return {
        "group": "pooled" if pooled and config.tower_rows == "own" else "tower",
        "own_rows": not pooled,
        "gamma_init": config.gamma_init,
        "min_rows": config.min_domain_rows,
        "variance": config.norm_variance,
        "inference": config.norm_inference,
        # Ones in front of a non-negative matrix give outputs whose mean is far above their spread.
        "centred": config.init == "ones",
    }


class AdapterCell(nn.Cell):
    """One adapter cell over H hidden units.

    Parameters: w_ul (S, H, K), w_ur (S, K, M), w_vl (S, M, K), w_vr (S, K, H) with S = D or 1
    (``side``), b_u (S', M), b_v (S', H) when ``up_bias``, norm.gamma and norm.beta (S'', H).

    Inputs:  hidden (B, H) float32, instance (B, K, K) float32 (or what ``HyperAdapter.share``
        returns), domain (B,) int32; weight None or (B,) float32, 0 on filler rows; quotas None
        (any composition) or D Python ints (rows sorted by domain).
    Outputs: (B, H) float32.

    ``in_towers``: the cell is inside D towers, so it is routed even if nothing in it belongs
    to a domain.
    """

    def __init__(self, rng, hidden_dim, num_domains, rank, bottleneck_dim, config, in_towers=False):
        super().__init__()
        sides = num_domains if config.side == "domain" else 1
        shapes = {
            "w_ul": (sides, hidden_dim, rank),
            "w_ur": (sides, rank, bottleneck_dim),
            "w_vl": (sides, bottleneck_dim, rank),
            "w_vr": (sides, rank, hidden_dim),
        }
        for name, shape in shapes.items():
            setattr(self, name, Parameter(_matrix(rng, shape, config.init), name=name))
        biases = num_domains if config.cell_bias == "domain" else 1
        self.b_u = spared(np.zeros((biases, bottleneck_dim), np.float32), "b_u")
        # Statistics that hold one row of b_v cancel it; it exists for parity with the public code.
        b_v = np.zeros((biases, hidden_dim), np.float32)
        self.b_v = spared(b_v, "b_v") if config.up_bias else None
        switches = (config.side, config.cell_bias, config.affine, config.norm_group)
        self.routed = in_towers or "domain" in switches
        towers = num_domains if self.routed else 1
        affine = num_domains if config.affine == "domain" else 1
        self.norm = DomainBatchNorm(hidden_dim, towers, affine_towers=affine, **cell_norm(config))
        self.num_domains, self.hidden_dim = num_domains, hidden_dim
        self.tower_rows = config.tower_rows
        self.fused = Bottleneck() if kernels.enabled() else None
        self.own_gradient = SharedInstanceGradient(1)

    def construct(self, hidden, instance, domain, weight=None, quotas=None):
        if hidden.shape[-1] != self.hidden_dim:
            raise ValueError(
                f"hidden has {hidden.shape[-1]} columns, but this adapter cell was declared with "
                f"hidden_dim={self.hidden_dim}."
            )
        if weight is None:
            weight = ops.ones_like(domain).astype(ms.float32)
        if self.routed:
            layout = make_layout(
                domain, weight, quotas, self.num_domains, self.tower_rows,
                fused=self.fused is not None and quotas is not None,
            )  # fmt: skip
        else:
            layout = single_layout(domain, weight)
        return combine(self.on_towers(dispatch(hidden, layout), instance, layout), layout)

    def on_towers(self, xs, instance, layout):
        """The same for towers: xs tuple of (rows, H) -> tuple of (rows, H)."""
        if fused(self, layout):
            up = (self.bottleneck(xs[0], instance, layout),)
            return (xs[0] + self.norm(up, layout, self.b_v)[0],)
        down = tower_product(xs, self.w_ul, layout)  # (rows, K)
        down = times_instance(down, instance, layout, 0)
        down = add_rows(tower_product(down, self.w_ur, layout), self.b_u, layout)  # (rows, M)
        active = tuple([ops.sigmoid(x) for x in down])
        up = times_instance(tower_product(active, self.w_vl, layout), instance, layout, 1)
        up = tower_product(up, self.w_vr, layout)  # (rows, H)
        up = self.norm(up, layout, self.b_v)
        return tuple([x + change for x, change in zip(xs, up)])

    def bottleneck(self, hidden, instance, layout):
        """z V_d of all rows by the fused kernel: hidden (R, H) -> (R, H)."""
        if not isinstance(instance, tuple):
            instance = gradient_slots(self.own_gradient, instance, PRODUCTS, 1, 1)[0]
        instance, (left, right) = instance
        matrices = self.w_ul, self.w_ur, self.b_u, self.w_vl, self.w_vr
        return self.fused(hidden, instance, left, right, *matrices, bounds(layout))[0]


class HyperAdapter(nn.Cell):
    """Hyper-network and adapter cells as one pluggable part of any MindSpore network.

        self.adapter = HyperAdapter(input_dim=113, hidden_dims=(128,), num_domains=3)  # __init__
        hidden = self.adapter(hidden, embedded, domain)                                # construct

    ``hidden_dims`` holds the widths of the layers that get a cell; two cells share one instance
    matrix: ``instance = self.adapter.instance(embedded)``, then
    ``self.adapter.adapter_cells[i](hidden, instance, domain)``. ``hyper_repeat`` and ``in_towers``
    are for this package's own backbones.

    Inputs:  hidden (B, H) and embedded (B, P) float32, the same rows in the same order; domain
        (B,) int32 in 0..D-1; weight None or (B,) float32; quotas None or D Python ints (then rows
        are sorted by domain). ``embedded`` must tell the domain; if it does not,
        ``domain_embedding_dim`` appends an embedding of it.
    Outputs: (B, H) float32.
    Raises:  ValueError: sizes < 1 or no tuple; hidden of another width than declared; quotas for
        another number of domains or rows.  Domain ids are not checked, which would cost a kernel a
        step and cannot raise in compiled code: one outside 0..D-1 gets domain 0's weights, or fails
        in the domain embedding.  `Table.validate` checks those of a table.
    """

    def __init__(
        self, input_dim, hidden_dims, num_domains, config=None, domain_embedding_dim=0, seed=2022,
        hyper_repeat=1, in_towers=False,
    ):  # fmt: skip
        super().__init__()
        config = config or AdapterConfig.paper()
        rng = np.random.default_rng(seed)
        if isinstance(hidden_dims, int):
            raise ValueError(f"HyperAdapter: hidden_dims is a tuple, as ({hidden_dims},).")
        hidden_dims = tuple(hidden_dims)
        for name, sizes in dict(
            input_dim=(input_dim,), hidden_dims=hidden_dims, num_domains=(num_domains,)
        ).items():
            if not sizes or min(sizes) < 1:
                raise ValueError(f"HyperAdapter: {name} must be >= 1, got {sizes}.")
        rank = config.rank or PLUGIN_RANK
        bottleneck_dim = config.bottleneck_dim or BOTTLENECK_DIM
        scale = 1.0 / np.sqrt(rank) if config.instance_scale is None else config.instance_scale
        self.domain_table = None
        if domain_embedding_dim:
            table = rng.standard_normal((num_domains, domain_embedding_dim)) * 0.1
            self.domain_table = Parameter(Tensor(table.astype(np.float32)), name="domain_table")
        width, hyper_dims = input_dim + domain_embedding_dim, config.hyper_dims or PLUGIN_HYPER_DIMS
        options = dict(scaled_init=config.init == "scaled", norm={"repeat": hyper_repeat})
        self.hyper = HyperNetwork(
            rng, width, hyper_dims, rank, config.instance_head, scale, **options
        )
        rest = num_domains, rank, bottleneck_dim, config, in_towers
        self.adapter_cells = nn.CellList([AdapterCell(rng, width, *rest) for width in hidden_dims])
        cells = len(hidden_dims)
        self.shared_gradient = SharedInstanceGradient(PRODUCTS * cells)
        self.fused_gradient = SharedInstanceGradient(cells)

    def instance(self, embedded, domain=None, weight=None):
        """The instance matrices of a batch, (B, K, K); domain is read only with a domain
        embedding."""
        if self.domain_table is not None:
            embedded = ops.concat((embedded, ops.gather(self.domain_table, domain, 0)), -1)
        if weight is None:
            weight = ops.ones_like(embedded[:, 0])
        return self.hyper(embedded, weight)

    def share(self, instance, quotas=None):
        """The instance matrices per cell, in a form whose gradient is made once for all cells."""
        cell, cells = self.adapter_cells[0], len(self.adapter_cells)
        every_tower = cell.routed and (quotas is None or cell.tower_rows == "all")
        if cell.fused is not None and not every_tower and (self.training or quotas is not None):
            return gradient_slots(self.fused_gradient, instance, PRODUCTS, cells, 1)
        vectors = cell.num_domains if every_tower else 1
        return gradient_slots(self.shared_gradient, instance, vectors, cells)

    def construct(self, hidden, embedded, domain, weight=None, quotas=None):
        instance = self.share(self.instance(embedded, domain, weight), quotas)[0]
        return self.adapter_cells[0](hidden, instance, domain, weight, quotas)


def _matrix(rng, shape, init):
    if init == "ones":
        return Tensor(np.ones(shape, np.float32))
    return Tensor((rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32))
