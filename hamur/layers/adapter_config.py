"""Every switch between HAMUR as the paper draws it, as the public code computes it, and ours."""

from dataclasses import dataclass, replace

CHOICES = {
    "side": ("domain", "shared"),
    "init": ("scaled", "ones"),
    "instance_head": ("linear", "bn_relu"),
    "cell_bias": ("domain", "shared"),
    "affine": ("domain", "shared"),
    "norm_group": ("domain", "pooled"),
    "norm_inference": ("running", "batch"),
    "norm_variance": ("biased", "unbiased"),
    "tower_rows": ("own", "all"),
    "tower_norm": ("domain", "pooled"),
    "batches": ("quota", "shuffle"),
    "backbone": ("published", "shared", "domain"),
}


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter cell and the towers around it compute; each switch flips alone.

    Raises: ValueError for a value outside the listed ones; FrozenInstanceError on assignment.
    """

    enabled: bool = True  # False = the plain backbone; switches that concern towers stay in force
    hidden_dims: tuple[int, ...] | None = None  # widths of the towers; None = published
    rank: int | None = None  # side K of the instance matrix; None = published for model and data
    bottleneck_dim: int | None = None  # width M between the projections; None = published (32)
    hyper_dims: tuple[int, ...] | None = None  # widths of the hyper-network; None = published
    adapter_layers: tuple[int, ...] | None = None  # 1-based hidden layers with a cell behind them
    side: str = "domain"  # four matrices of a cell per domain, or "shared" ones
    init: str = "scaled"  # pre-activations of order 1; public "ones": saturated sigmoids
    instance_head: str = "linear"  # of the instance matrix, or "bn_relu"
    instance_scale: float | None = None  # factor on the instance matrix; None = 1/sqrt(K)
    up_bias: bool = False  # a bias after the up-projection
    cell_bias: str = "domain"  # biases per domain or "shared"
    gamma_init: float = 0.1  # start of the cell norm's scale; 0.1 starts near the identity
    affine: str = "domain"  # scale and shift of the cell norm per domain or "shared"
    norm_group: str = "domain"  # cell norm over the rows of a domain, or "pooled" over the batch
    norm_inference: str = "running"  # statistics, or the "batch"'s: scores then depend on the batch
    norm_variance: str = "biased"  # or "unbiased" estimate in the cell norm
    min_domain_rows: int = 8  # groups with fewer rows are normalised with running statistics
    tower_rows: str = "own"  # towers see the rows of their domain, or "all" rows (D-fold cost)
    tower_norm: str = "domain"  # with own rows: tower statistics per domain, or "pooled" over all
    bn_repeat: int = 1  # running statistics move as if a shared norm were called so often; 0 = D
    backbone: str = "published"  # D towers for mlp, one network for dcn and wd; "shared"; "domain"
    embedding_std: float = 1e-2  # start of the embeddings
    embedding_dropout: float = 0.0  # rate on the embeddings while training
    batches: str = "quota"  # rows ordered by domain, fixed counts; or plain "shuffle"

    def __post_init__(self):
        for name, valid in CHOICES.items():
            self._check(name, getattr(self, name) in valid, f"valid values are {', '.join(valid)}")
        for name in ("rank", "bottleneck_dim"):
            value = getattr(self, name)
            whole = value is None or (not isinstance(value, bool) and int(value) == value >= 1)
            self._check(name, whole, "it must be an integer >= 1 or None")
        for name in ("hidden_dims", "hyper_dims", "adapter_layers"):
            if getattr(self, name) is not None:
                # A caller's list is copied, never changed.
                value = tuple(int(item) for item in getattr(self, name))
                object.__setattr__(self, name, value)
                self._check(name, value and min(value) >= 1, "it needs integers >= 1")
        layers = self.adapter_layers or ()
        increasing = list(layers) == sorted(set(layers))
        self._check("adapter_layers", increasing, "it must be increasing")
        for name in ("min_domain_rows", "bn_repeat"):
            self._check(name, getattr(self, name) >= 0, "it must be >= 0")
        self._check("embedding_std", self.embedding_std > 0, "it must be > 0")
        within = 0 <= self.embedding_dropout < 1
        self._check("embedding_dropout", within, "it must lie in [0, 1)")

    def _check(self, name, fits, rule):
        if not fits:
            raise ValueError(f"AdapterConfig.{name} is {getattr(self, name)!r}; {rule}.")

    @classmethod
    def paper(cls, **changes):
        """HAMUR as the paper draws it: matrices, norm and towers of each domain."""
        return replace(cls(), **changes)

    @classmethod
    def official(cls, **changes):
        """HAMUR as the authors' public code computes it, its defects included."""
        return replace(
            cls(
                side="shared",
                init="ones",
                instance_head="bn_relu",
                instance_scale=1.0,
                up_bias=True,
                cell_bias="shared",
                gamma_init=1.0,
                affine="shared",
                norm_group="pooled",
                norm_inference="batch",
                norm_variance="unbiased",
                min_domain_rows=0,
                tower_rows="all",
                bn_repeat=0,
                embedding_std=1e-4,
                batches="shuffle",
            ),
            **changes,
        )

    @classmethod
    def best(cls, **changes):
        """What measured best on MovieLens-1M's validation split (examples/RESULTS.md).

        The paper's form with a smaller instance matrix, and tower norms whose statistics are
        pooled over the batch, so that small domains are normalised with stable numbers at the cost
        of one tower per row.
        """
        return replace(cls(rank=16, hyper_dims=(64,), tower_norm="pooled"), **changes)


PRESETS = {
    "paper": AdapterConfig.paper,
    "official": AdapterConfig.official,
    "best": AdapterConfig.best,
}
