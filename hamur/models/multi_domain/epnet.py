"""epnet: a gate over the features, chosen by the domain (arXiv 2302.01115)."""

from hamur.layers.routing import dispatch
from hamur.models.multi_domain.gates import (
    Gates,
    GradientOf,
    domain_place,
    field_columns,
    without_columns,
)
from hamur.models.ranking import Baseline


class EPNet(Baseline):
    """logit = Dense(blocks(a * gate), 1),  gate = 2 sigmoid(Dense(ReLU(Dense([c | stop(a)]))))

    with c the domain's embedding and a the rest of e.  The gate's matrix has its rows in the order
    of e.

    Raises:  ValueError: the domain is no feature.
    """

    def add_layers(self, rng):
        size, width = self.sizes.embed_dim, self.instance_width
        self.begin = domain_place(self.schema, "epnet") * size
        self.end = self.begin + size
        own = field_columns(self.schema, (self.schema.domain_field,), size)
        self.of_domain = GradientOf(own, width)
        self.gates = Gates(rng, width, (width - size,), self.num_towers)
        self.add_deep(rng, width - size)

    def network(self, embeddings, dense, layout, context):
        e = self.join(embeddings, dense)
        (gates,) = self.gates(dispatch(self.of_domain(e), layout), layout)
        xs = dispatch(without_columns(e, self.begin, self.end), layout)
        xs = tuple([x * gate for x, gate in zip(xs, gates)])
        return self.output(self.deep(xs, layout, context), layout)
