"""ppnet: a tower per domain, whose layers are gated by user and item (arXiv 2302.01115)."""

from hamur.layers.routing import dispatch
from hamur.models.multi_domain.gates import Gates, GradientOf, field_columns
from hamur.models.ranking import Baseline


class PPNet(Baseline):
    """Tower d, for rows of domain d only:

        x_0 = e,  x_l = block_l(x_{l-1}) * gate_l,  logit = Dense(x_last, 1)
        gate_l = 2 sigmoid(Dense(ReLU(Dense([ids | stop(rest of e)]))))

    The ids are the fields of ``Sizes.id_fields``; where the schema lacks one of them, the two
    sparse fields of the largest vocabularies, the domain's aside.  The gates' matrices have their
    rows in the order of e.  An adapter cell reads what its layer's gate leaves.
    """

    towers_per_domain = True

    def add_layers(self, rng):
        ids = id_fields(self.schema, self.sizes.id_fields)
        own = field_columns(self.schema, ids, self.sizes.embed_dim)
        self.of_ids = GradientOf(own, self.instance_width)
        self.gates = Gates(rng, self.instance_width, self.sizes.hidden_dims, self.num_towers)
        self.add_deep(rng, self.instance_width)

    def network(self, embeddings, dense, layout, context):
        e = self.join(embeddings, dense)
        gates = self.gates(dispatch(self.of_ids(e), layout), layout)
        return self.head(e, layout, context, gates)


def id_fields(schema, wanted):
    """Names of the fields that tell user and item."""
    if wanted and set(wanted) <= set(schema.sparse_names):
        return tuple(wanted)
    sizes = zip(schema.sparse_names, schema.vocab_sizes)
    others = [(name, size) for name, size in sizes if name != schema.domain_field]
    return tuple(name for name, _ in sorted(others, key=lambda pair: -pair[1])[:2])
