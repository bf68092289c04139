"""Published sizes: every model builds from a schema alone and has the published parameter count."""

import numpy as np
import pytest

from hamur import models
from hamur.data.schema import FieldSpec, Schema
from hamur.layers import AdapterConfig
from tests.support import networks

MOVIELENS = {
    "mlp": (188_931, 188_931),
    "mlp_adp": (290_046, 310_444),
    "dcn_md": (63_542, 63_542),
    "dcn_md_adp": (206_306, 224_154),
    "wd_md": (62_723, 62_723),
    "wd_md_adp": (357_662, 382_860),
}
ALI_CCP = {
    "mlp": (4_239_171, 4_239_171),
    "mlp_adp": (4_572_934, 4_614_916),
    "dcn_md": (690_873, 690_873),
    "dcn_md_adp": (763_052, 771_658),
    "wd_md": (680_906, 680_906),
    "wd_md_adp": (753_085, 761_691),
}


def schema_of(name):
    """The fields of a data set; small vocabularies where only the dense part counts."""
    if name == "ml-1m":
        sizes, num_dense = (6040, 3706, 2, 21, 3439, 18, 3), 1
    else:
        sizes, num_dense = (9,) * 23 + (3,), 8
    fields = [FieldSpec(f"field_{i}", "sparse", size) for i, size in enumerate(sizes)]
    fields += [FieldSpec(f"dense_{i}", "dense") for i in range(num_dense)]
    domains = ("first", "second", "third")
    return Schema(name, tuple(fields), ("click",), domains, fields[len(sizes) - 1].name)


@pytest.mark.parametrize(("dataset", "counts"), [("ml-1m", MOVIELENS), ("ali-ccp", ALI_CCP)])
@pytest.mark.parametrize("name", networks.MODELS)
def test_parameter_counts_are_the_published_ones(name, dataset, counts):
    for preset, expected in zip(("official", "paper"), counts[name], strict=True):
        model = models.RANKING[name](schema_of(dataset), preset=preset)
        assert models.parameter_counts(model)["parameters"] == expected
    if dataset == "ml-1m":
        assert models.parameter_counts(model)["embedding_parameters"] == 211_664


@pytest.mark.parametrize("name", networks.BACKBONES)
def test_the_matched_control_is_a_plain_model_of_the_same_size(name):
    schema = schema_of("ml-1m")
    adapted = models.RANKING[f"{name}_adp"](schema, preset="paper")
    target = models.parameter_counts(adapted)["parameters"]
    control = models.match_parameters(models.RANKING[name], schema, target, preset="paper")
    assert models.parameter_counts(control)["parameters"] == pytest.approx(target, rel=0.02)
    assert not any("adapter" in p.name for p in control.get_parameters())


def test_a_control_of_a_small_model_is_narrower():
    control = models.match_parameters(models.RANKING["mlp"], schema_of("ml-1m"), 18_898)
    assert models.parameter_counts(control)["parameters"] == pytest.approx(18_898, rel=0.02)


def test_an_unreachable_size_is_an_error():
    with pytest.raises(ValueError, match="parameters"):
        models.match_parameters(models.RANKING["mlp"], schema_of("ml-1m"), 10)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"paper.*official.*best"):
        models.RANKING["mlp"](schema_of("ml-1m"), preset="fast")


def test_places_beyond_the_last_layer_are_an_error():
    with pytest.raises(ValueError, match="adapter_layers"):
        networks.make_model("mlp_adp", AdapterConfig.paper(adapter_layers=(1, 3)))


@pytest.mark.parametrize("name", networks.BACKBONES)
def test_a_plain_model_starts_as_the_backbone_of_its_twin(name):
    plain, adapted = (
        networks.arrays(networks.make_model(each, AdapterConfig.paper()))
        for each in (name, f"{name}_adp")
    )
    for key, values in plain.items():
        np.testing.assert_array_equal(adapted[key], values)


def test_seeds_decide_the_start():
    first, same, other = (
        networks.arrays(networks.make_model("mlp_adp", AdapterConfig.paper(), seed=seed))
        for seed in (1, 1, 2)
    )
    weights = [key for key in first if key.endswith((".weight", ".table")) or ".w_" in key]
    for key in weights:
        np.testing.assert_array_equal(first[key], same[key])
        assert np.abs(first[key] - other[key]).max() > 0, key
