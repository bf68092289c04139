"""Synthetic random inputs with the sizes of the public data sets: values do not change the cost."""

from dataclasses import dataclass

import numpy as np

ALI_CCP_VOCABULARIES = (
    *(238_000, 98, 14, 3, 8, 4, 4, 3, 5, 467_000, 6_900, 230_000, 60_000, 80_000, 5_900),
    *(60_000, 40_000, 30_000, 4, 5_900, 40_000, 25_000, 12_000),
)  # 1.3 million rows in all: plausible, not counted from the data


@dataclass(frozen=True)
class Shape:
    """schema_name picks the published layer sizes; the last sparse field is the domain's."""

    schema_name: str
    vocabularies: tuple[int, ...]  # of the fields before the domain's
    num_dense: int
    domain_rows: tuple[int, ...]

    @property
    def num_domains(self) -> int:
        return len(self.domain_rows)

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        return (*self.vocabularies, self.num_domains)

    def quotas(self, batch_rows: int) -> tuple[int, ...]:
        """Rows of each domain in a step, as in `DomainBatches`: q_d = ceil(N_d / ceil(N / B))."""
        steps = -(-sum(self.domain_rows) // batch_rows)
        return tuple(-(-rows // steps) for rows in self.domain_rows)

    def schema(self):
        """The data set's schema, domain field last among the sparse ones."""
        from hamur.data import FieldSpec, Schema

        names = [f"field_{i}" for i in range(len(self.vocabularies))] + ["domain_indicator"]
        fields = [FieldSpec(n, "sparse", v) for n, v in zip(names, self.vocab_sizes, strict=True)]
        fields += [FieldSpec(f"dense_{i}", "dense") for i in range(self.num_dense)]
        return Schema(
            name=self.schema_name,
            fields=tuple(fields),
            labels=("click",),
            domain_names=tuple(f"domain {d}" for d in range(self.num_domains)),
            domain_field="domain_indicator",
        )

    def arrays(self, quotas: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
        """sparse (B, F) int32, dense (B, C) and labels (B,) float32, domain (B,) int32, sorted."""
        random = np.random.default_rng(seed)
        domain = np.repeat(np.arange(len(quotas), dtype=np.int32), quotas)
        columns = [random.integers(1, size, len(domain)) for size in self.vocabularies]
        return {
            "sparse": np.stack([*columns, domain], axis=1).astype(np.int32),
            "dense": random.random((len(domain), self.num_dense), dtype=np.float32),
            "domain": domain,
            "labels": random.integers(0, 2, len(domain)).astype(np.float32),
        }


MOVIELENS_VOCABULARIES = (
    6_041,
    3_707,
    3,
    22,
    3_440,
    19,
)  # public vocabulary sizes and an unknown row each

SHAPES = {
    "ml-1m": Shape("ml-1m", MOVIELENS_VOCABULARIES, 1, (210_747, 395_556, 393_906)),
    "ali-ccp": Shape("ali-ccp", ALI_CCP_VOCABULARIES, 8, (32_236_951, 639_897, 52_439_671)),
    "domains-30": Shape("ml-1m", MOVIELENS_VOCABULARIES, 1, (33_340,) * 30),
}


def uniform_domains(number: int) -> Shape:
    """MovieLens sizes with any number of equally frequent domains."""
    return Shape("ml-1m", MOVIELENS_VOCABULARIES, 1, (1_000_209 // number,) * number)
