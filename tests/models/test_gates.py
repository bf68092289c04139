"""What epnet, ppnet and m2m need of the data, and which fields are read with a gradient."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers import AdapterConfig
from hamur.models.multi_domain.gates import GradientOf, field_columns, without_columns
from hamur.models.multi_domain.ppnet import id_fields
from tests.support import networks


@pytest.mark.parametrize("name", ["epnet", "m2m"])
def test_a_model_that_reads_the_domain_needs_it_as_a_feature(name):
    schema = networks.make_schema()
    blind = dataclasses.replace(schema, fields=schema.fields[:2], domain_field=None)
    with pytest.raises(ValueError, match=f"{name} reads the domain .* `domain`, .* `drop`"):
        networks.make_model(name, AdapterConfig.paper(), schema=blind)


@pytest.mark.parametrize("name", ["epnet", "adasparse"])
def test_the_domain_may_be_the_only_field(name):
    """A table of numbers with a column of domains."""
    schema = networks.make_schema()
    schema = dataclasses.replace(schema, fields=schema.fields[2:])
    model = networks.randomise(networks.make_model(name, AdapterConfig.paper(), schema=schema))
    batch = networks.make_batch(networks.sorted_domains(9, 9, 9), vocabularies=())
    loss, gradients = networks.loss_and_gradients(model, batch)
    assert np.isfinite(loss)
    assert np.abs(gradients["embedding.table"]).min() > 0.0
    assert networks.logits(model, batch).shape == (27,)


def test_the_domain_may_be_the_last_column(compiled):
    schema = networks.make_schema()
    schema = dataclasses.replace(schema, fields=schema.fields[:3])
    model = networks.make_model("epnet", AdapterConfig.paper(), schema=schema)
    batch = networks.make_batch(networks.sorted_domains(9, 9, 9), num_dense=0)
    assert np.isfinite(networks.loss_and_gradients(model, batch, (9, 9, 9))[0])


def test_four_heads_need_a_multiple_of_four():
    with pytest.raises(ValueError, match="width 6 cannot be cut into the 4 heads"):
        networks.make_model("m2m", AdapterConfig.paper(), embed_dim=6)


def test_ids_are_the_named_fields_or_those_of_the_largest_vocabularies():
    schema = networks.make_schema(num_domains=20)  # the domain's field is the largest
    assert id_fields(schema, ("id_1",)) == ("id_1",)
    assert id_fields(schema, ("user_id", "movie_id")) == ("id_0", "id_1")
    small = dataclasses.replace(schema, fields=schema.fields[1:])
    assert id_fields(small, ("id_0", "id_1")) == ("id_1",)


def test_columns_of_fields_and_their_gradient():
    schema = networks.make_schema()
    columns = field_columns(schema, ("id_1", "domain_indicator"), 2)
    assert columns == [2, 3, 4, 5]
    x = np.arange(14, dtype=np.float32).reshape(2, 7)
    own = GradientOf(columns, 7)
    value, gradient = ms.value_and_grad(lambda x: (own(x) * 3.0).sum())(Tensor(x))
    assert float(value.asnumpy()) == 3.0 * x.sum()
    np.testing.assert_array_equal(gradient.asnumpy(), [[0, 0, 3, 3, 3, 3, 0]] * 2)
    rest = without_columns(Tensor(x), 2, 4).asnumpy()
    np.testing.assert_array_equal(rest, np.delete(x, [2, 3], axis=1))


def test_a_field_that_is_no_id_is_trained_by_the_towers():
    """The public ppnet trains the embeddings of the ids only."""
    config = AdapterConfig.paper()
    model = networks.randomise(networks.make_model("ppnet", config, id_fields=("id_0",)))
    batch = networks.make_batch(networks.sorted_domains(9, 9, 9))
    _, gradients = networks.loss_and_gradients(model, batch)
    read = networks.VOCABULARIES[0] + np.unique(batch["sparse"][:, 1])
    assert np.abs(gradients["embedding.table"][read]).min() > 1e-6
