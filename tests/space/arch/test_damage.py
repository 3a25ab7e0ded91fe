"""Specs with one connection into each block: which one is left, and that they are networks like any other."""

import pytest
import torch
from long_suite import few

from spinesearch import ArchSpec, SpecError, build_backbone
from spinesearch.models.cost import count_multiply_adds, count_parameters
from spinesearch.results.export.plain_twin import plain_twin
from spinesearch.results.export.tf_list import tf_list_text
from spinesearch.space import R0_SP53, SPINENET_49, SpineNetSpace, backbone_cost
from spinesearch.space.arch.damage import DAMAGES, damaged
from spinesearch.space.presets import SPINENET_MOBILE_49

# Of R0-SP53's blocks 2..16, read off its list.
LEFT = {
    "short": (0, 0, 2, 2, 3, 5, 4, 4, 8, 8, 4, 6, 8, 6, 7),
    "long": (1, 1, 3, 4, 5, 6, 7, 8, 9, 10, 10, 7, 13, 9, 9),
    "sequential": tuple(range(1, 16)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_connection_that_is_left(damage: str):
    spec = damaged(R0_SP53, damage)
    assert tuple(block.parents for block in spec.blocks) == tuple((parent,) for parent in LEFT[damage])
    assert [block.level for block in spec.blocks] == [block.level for block in R0_SP53.blocks]
    assert ArchSpec.from_json(spec.to_json()) == spec
    assert spec.arch_id != R0_SP53.arch_id
    assert damaged(spec, damage).arch_id == spec.arch_id
    assert spec.name == f"r0_sp53-{'sequential' if damage == 'sequential' else 'without-' + damage}"


@pytest.mark.parametrize("spec", few([R0_SP53, SPINENET_49, SPINENET_MOBILE_49], 1))
def test_they_are_built_trained_counted_and_exported(spec: ArchSpec):
    torch.manual_seed(0)
    narrow = {"filter_size_scale": 0.25, "endpoints_num_filters": 8}
    for damage in DAMAGES:
        found = damaged(spec, damage)
        network = build_backbone(found, **narrow)
        cost = backbone_cost(found, 128, **narrow)
        assert (count_parameters(network), count_multiply_adds(network, 128)) == cost[:2]
        sum(x.square().mean() for x in network.train()(torch.rand(2, 3, 128, 128)).values()).backward()
        plain_twin(network.eval())  # which refuses a form with other outputs


def test_what_reads_two_parents_says_so():
    found = damaged(SPINENET_49, "short")
    with pytest.raises(SpecError, match="block 2 reads one block, where its candidates read two"):
        SpineNetSpace().encode(found)
    with pytest.raises(SpecError, match="--format tf: the authors' builders read two parents"):
        tf_list_text(found)
    with pytest.raises(ValueError, match="damage: must be one of short, long, sequential, got 'all'"):
        damaged(SPINENET_49, "all")
