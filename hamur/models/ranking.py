"""What every multi-domain ranking model shares: the embedded instance, the adapter, the contract
with training."""

from dataclasses import replace
from functools import partial

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from hamur import kernels
from hamur.layers import HyperAdapter, InstanceEmbedding, TowerDense, TowerMLP
from hamur.layers.adapter import tower_norm
from hamur.layers.adapter_config import PRESETS
from hamur.layers.routing import DOMAIN, combine, dispatch, make_layout, single_layout
from hamur.models.prediction import RankingPredictor, ranking_graph
from hamur.models.protocol import parameter_counts, parameter_groups
from hamur.models.published_sizes import published_sizes

ADAPTER_SUFFIX = "_adp"
OPEN_SIZES = ("hidden_dims", "rank", "bottleneck_dim", "hyper_dims", "adapter_layers")
ALL_ROWS = 4  # of the entries of a context, the layout in which all rows are one tower's


class RankingModel(nn.Cell):
    """Embedding -> network -> one logit per row.

    A backbone defines ``add_layers(rng)`` and ``network(embeddings, dense, layout, context)``,
    which gives the (rows, 1) logits of each tower; context is handed on to ``deep``, and
    ``context[ALL_ROWS]`` is the layout of parts that all rows share.

    Inputs:  sparse (B, F) int32, dense (B, C) float32, domain (B,) int32 in 0..D-1; weight None or
        (B,) float32, 0 on filler rows; quotas None, or D Python ints when the rows are sorted by
        domain; keep () or one (B, width) uint8 mask per entry of ``dropouts``, in that order;
        lists: multi_ids and multi_weight of a schema with lists, see InstanceEmbedding.
    Outputs: logits (B,) float32.
    """

    towers_per_domain = False  # published form: one network for all domains
    hyper_repeats = True  # the public code calls the hyper-network once per domain
    in_public_code = True  # has a preset "official"
    still = ()

    def __init__(self, schema, sizes, config, seed):
        super().__init__()
        # Streams of their own: a plain model starts as the backbone of its adapter variant.
        rng, adapter_seed = np.random.default_rng(seed), np.random.SeedSequence((seed, 1))
        self.schema, self.num_domains = schema, schema.num_domains
        # Sizes that the configuration leaves open are the data set's.
        sizes_of = {name: getattr(config, name) or getattr(sizes, name) for name in OPEN_SIZES}
        sizes_of["adapter_layers"] = sizes_of["adapter_layers"] or (len(sizes_of["hidden_dims"]),)
        config = self.config = replace(config, **sizes_of)
        sizes = self.sizes = replace(sizes, hidden_dims=config.hidden_dims)
        published = "domain" if self.towers_per_domain else "shared"
        backbone = published if config.backbone == "published" else config.backbone
        self.per_domain = backbone == "domain" and self.num_domains > 1
        self.num_towers = self.num_domains if self.per_domain else 1
        self.norm = tower_norm(config, backbone == "domain", self.num_domains)
        start = sizes.embed_dim, config.embedding_std, config.embedding_dropout
        lists = [(spec.vocab_size, spec.max_len) for spec in schema.multi]
        self.embedding = self.make_embedding(rng, *start, lists)
        self.fused = kernels.enabled()
        self.num_dense = schema.num_dense
        self.instance_width = self.embedding.width + schema.num_dense
        self.adapter_layers = config.adapter_layers
        if max(self.adapter_layers) > len(sizes.hidden_dims):
            raise ValueError(
                f"adapter_layers is {self.adapter_layers}, but the deep part has only "
                f"{len(sizes.hidden_dims)} hidden layers."
            )
        self.add_layers(rng)
        self.adapter = None
        if config.enabled:
            self.adapter = HyperAdapter(
                self.instance_width,
                [sizes.hidden_dims[layer - 1] for layer in self.adapter_layers],
                self.num_domains,
                config,
                seed=adapter_seed,
                hyper_repeat=(config.bn_repeat or self.num_domains) if self.hyper_repeats else 1,
                in_towers=self.per_domain,
            )

    def make_embedding(self, rng, *options):
        return InstanceEmbedding(rng, self.schema.vocab_sizes, *options)

    def add_deep(self, rng, in_dim, extra_dim=0, dense=TowerDense):
        """The deep part every backbone has, and the Dense(., 1) over its output and ``extra_dim``
        columns; dense: the class of the products."""
        dims, towers = self.sizes.hidden_dims, self.num_towers
        self.tower = TowerMLP(rng, in_dim, dims, towers, self.sizes.dropout, self.norm, dense)
        self.output = dense(rng, dims[-1] + extra_dim, 1, towers)

    def set_train(self, mode=True):
        """For training or not; `still` cells, norms that are not to move, are never for it."""
        super().set_train(mode)
        for cell in self.still:
            cell.set_train(False)
        return self

    @property
    def batches(self):
        return "quota" if self.config.batches == "quota" else "shuffled"

    @property
    def batch_statistics(self):
        """Whether the score of a row depends on the other rows of its batch."""
        return self.config.enabled and self.config.norm_inference == "batch"

    def parameter_groups(self):
        """Coupled L2 acts on every parameter, as in the public code."""
        return parameter_groups(self.trainable_params())

    def predictor(self, batch_size=None):
        return RankingPredictor(self, batch_size)

    def serving_graph(self):
        return ranking_graph(self)

    @property
    def dropouts(self):
        """(width, rate) of each dropout mask of a training step, in the order of ``keep``."""
        rates = [(self.embedding.width, self.config.embedding_dropout)]
        rates += [(width, self.sizes.dropout) for width in self.sizes.hidden_dims]
        return tuple((width, rate) for width, rate in rates if rate > 0)

    def construct(self, sparse, dense, domain, weight=None, quotas=None, keep=(), *lists):
        if weight is None:
            weight = ops.ones_like(domain).astype(ms.float32)
        # Quotas come with training and with predictions in bulk, not with a served graph.
        fused = self.fused and quotas is not None
        plain = layout = single_layout(domain, weight, fused)
        if self.per_domain:
            rows = self.config.tower_rows
            layout = make_layout(domain, weight, quotas, self.num_domains, rows, fused)
        embedding_keep, block_keep = None, keep
        if keep and self.config.embedding_dropout > 0:
            embedding_keep, block_keep = keep[0], keep[1:]
        embeddings = self.embed(sparse, domain, plain, embedding_keep, *lists)
        instance = None
        if self.adapter is not None:
            instance = self.adapter.instance(self.hyper_input(embeddings, dense), domain, weight)
            instance = self.adapter.share(instance, quotas)
        context = (instance, weight, quotas, block_keep, plain)
        return combine(self.network(embeddings, dense, layout, context), layout).reshape(-1)

    def embed(self, sparse, domain, layout, keep, *lists):
        """The embeddings (B, (F+M)*E) of a batch."""
        return self.embedding(sparse, layout, keep, *lists)

    def hyper_input(self, embeddings, dense):
        """What the hyper-network reads: the embedded instance e."""
        return self.join(embeddings, dense)

    def join(self, embeddings, dense):
        """The embedded instance with its dense columns."""
        return ops.concat((embeddings, dense), -1) if self.num_dense else embeddings

    def deep(self, xs, layout, context, gates=()):
        """Hidden blocks with the adapter cells behind their layers; xs tuple of (rows, in); gates:
        () or what ``gated`` reads."""
        instance, _, _, keep = context[:ALL_ROWS]
        cell = 0
        for number, block in enumerate(self.tower.blocks):
            xs = block(xs, layout, keep[number] if keep else None)
            if gates:
                xs = self.gated(number, xs, gates, layout)
            if self.adapter is not None and number + 1 in self.adapter_layers:
                adapter_cell = self.adapter.adapter_cells[cell]
                xs = self.apply_cell(adapter_cell, xs, instance[cell], layout, context)
                cell += 1
        return xs

    def head(self, x, layout, context, gates=()):
        """The towers' logits, a tuple of (rows, 1), of the rows x (B, in) of their deep part."""
        return self.output(self.deep(dispatch(x, layout), layout, context, gates), layout)

    def gated(self, number, xs, gates, layout):
        """A block's outputs times gates[number], the towers' (rows, H) factors of it."""
        return tuple([x * gate for x, gate in zip(xs, gates[number])])

    def apply_cell(self, adapter_cell, xs, instance, layout, context):
        """The cell on the towers' rows xs, in the form of rows that it reads."""
        if adapter_cell.routed == self.per_domain:
            return adapter_cell.on_towers(xs, instance, layout)
        _, weight, quotas, _, plain = context
        hidden = combine(xs, layout)
        changed = adapter_cell(hidden, instance, plain[DOMAIN], weight, quotas)
        return dispatch(changed, layout)


class Baseline(RankingModel):
    """A model of others that HAMUR is compared with; its forms are the presets paper and best."""

    in_public_code = False


def build(
    backbones, name, schema, preset, config, seed, embed_dim=None, hidden_dims=None, adapter=False
):
    """A model by public name: its backbone, or with the suffix ``_adp`` the backbone with adapter
    cells.

    schema:  hamur.data.Schema; its name picks the published sizes.
    preset:  "paper", "official" (HAMUR's own six) or "best"; config: an AdapterConfig in its place.
    adapter:  the adapter cells whatever the name says.
    seed:  initialisation; the backbone of a model and of its ``_adp`` variant start with equal
        weights.
    Raises:  ValueError: unknown preset, or one that this model does not have.
    """
    base = name.removesuffix(ADAPTER_SUFFIX)
    if config is None:
        if preset == "official" and not backbones[base].in_public_code:
            raise ValueError(
                f"`preset='official'` is what HAMUR's public code computes, which does not have "
                f"{base}; use paper or best."
            )
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; valid presets are {', '.join(PRESETS)}.")
        config = PRESETS[preset]()
    config = replace(config, enabled=config.enabled and (adapter or name != base))
    if hidden_dims is not None:
        config = replace(config, hidden_dims=tuple(hidden_dims))
    sizes = published_sizes(schema.name, base)
    if embed_dim is not None:
        sizes = replace(sizes, embed_dim=embed_dim)
    return backbones[base](schema, sizes, config, seed)


def _narrow(kept, field):
    """The field with one value, unless it has that name."""
    return field if field.name == kept else replace(field, vocab_size=min(field.vocab_size, 1))


def match_parameters(constructor, schema, target, tolerance=0.02, **options):
    """The plain model whose last two hidden layers are widened, or narrowed, until its parameters
    match ``target``.

    constructor:  an entry of RANKING; target: non-embedding trainable parameters.
    Raises:  ValueError: no width comes within ``tolerance`` of the target.
    """
    # Only embeddings, which do not count, depend on the vocabularies.
    small = replace(schema, fields=tuple(map(partial(_narrow, schema.domain_field), schema.fields)))
    base = constructor(small, **options).sizes.hidden_dims
    low, high, factor = 0.0, None, 1.0
    for _ in range(40):
        widened = tuple(max(1, round(width * factor)) for width in base[-2:])
        hidden_dims = base[:-2] + widened
        model = constructor(small, hidden_dims=hidden_dims, **options)
        count = parameter_counts(model)["parameters"]
        if abs(count - target) <= tolerance / 4 * target:
            break
        low, high = (factor, high) if count < target else (low, factor)
        factor = 2 * factor if high is None else (low + high) / 2
        if factor > 64:  # never larger than it must be: memory of a network comes back late
            break
    if abs(count - target) > tolerance * target:
        raise ValueError(
            f"no widening of {base} comes within {tolerance:.0%} of {target} parameters; "
            f"closest is {count} with {hidden_dims}. Match another model."
        )
    return constructor(schema, hidden_dims=hidden_dims, **options)
