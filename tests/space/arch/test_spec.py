import json
import pickle
from dataclasses import replace

import pytest

from spinesearch import ArchSpec, BlockSpec, SpecError, load_spec, preset
from spinesearch.space import MBCONV_STEM, PRESETS, R0_SP53, SPINENET_49, draw_spec
from spinesearch.space.presets import R23_SP30, SPINENET_MOBILE_49


def edited(block_id: int, **changes: object) -> dict[str, object]:
    """SpineNet-49 as plain data with some fields of one block changed."""
    data = SPINENET_49.to_dict()
    del data["arch_id"]
    data["blocks"][block_id - 2].update(changes)
    return data


@pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS)
def test_json_round_trip(spec: ArchSpec, tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(spec.to_json())
    loaded = load_spec(path)
    assert loaded == spec
    assert (loaded.name, loaded.arch_id) == (spec.name, spec.arch_id)
    assert ArchSpec.from_tuples(spec.to_tuples(), stem=spec.stem) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_authors_extra_edges():
    # Section 2.6 of the reference: 11 -> 14 in SpineNet-49 and 11 -> 13 in R0-SP53, nothing else.
    extra = {i: ids for i, ids in enumerate(SPINENET_49.unresampled_inputs()) if ids}
    assert extra == {14: (11,)}
    assert {i: ids for i, ids in enumerate(R0_SP53.unresampled_inputs()) if ids} == {13: (11,)}


def test_presets_have_the_papers_block_counts():
    # "From ResNet-50 to SpineNet": stem {L2..L5} and permuted {L2..L7}, outputs included.
    def counts(blocks):
        levels = [block.level for block in blocks]
        return [levels.count(level) for level in range(2, 8)]

    assert counts(SPINENET_49.blocks) == [1, 2, 4, 4, 2, 2]
    assert counts(R0_SP53.blocks) == [1, 4, 6, 2, 1, 1]
    assert counts(R23_SP30.stem) == [2, 2, 2, 1, 0, 0]
    assert counts(R23_SP30.blocks) == [1, 2, 4, 1, 1, 1]
    for spec in (SPINENET_49, R0_SP53):
        assert counts(spec.stem) == [2, 0, 0, 0, 0, 0]


def test_the_mobile_stem_is_a_chain_of_l1_and_l2():
    assert SPINENET_MOBILE_49.stem == MBCONV_STEM
    assert [(block.level, block.block_type) for block in MBCONV_STEM] == [(1, "mbconv"), (2, "mbconv")]
    assert SPINENET_MOBILE_49.is_mbconv
    assert not any(spec.is_mbconv for spec in (SPINENET_49, R0_SP53, R23_SP30))


@pytest.mark.parametrize("spec", [SPINENET_49, SPINENET_MOBILE_49], ids=lambda spec: spec.name)
@pytest.mark.parametrize("block_id", [0, 1, 2, 11, 15])
def test_mbconv_is_for_all_blocks_or_none(spec: ArchSpec, block_id: int):
    def mixed(i: int, block: BlockSpec) -> BlockSpec:
        other = "bottleneck" if block.block_type == "mbconv" else "mbconv"
        return replace(block, block_type=other) if i == block_id else block

    blocks = tuple(mixed(i, block) for i, block in enumerate(spec.all_blocks))
    # The stem's first block says which it is, so another one there makes block 1 the odd one.
    with pytest.raises(SpecError, match=f"block {max(block_id, 1)}: mbconv blocks do not mix with other"):
        ArchSpec(stem=blocks[:2], blocks=blocks[2:])


def test_old_import_places_hold():
    from spinesearch.space.arch import spec

    assert spec.BlockSpec is BlockSpec
    assert spec.SpecError is SpecError
    assert SPINENET_49.to_dict()["schema_version"] == spec.SCHEMA_VERSION
    assert set(spec.__all__) >= {"MIN_LEVEL", "MAX_LEVEL", "NUM_PARENTS", "OUTPUT_LEVELS", "load_spec"}


def test_a_preset_that_does_not_exist_offers_near_names():
    with pytest.raises(SpecError, match="did you mean spinenet49"):
        preset("spinenet-48")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            edited(7, parents=[9, 3]),
            r"block 7: parents must be earlier blocks, got \(9, 3\); valid ids are 0..6",
        ),
        (edited(7, parents=[7, 3]), "block 7: parents must be earlier blocks"),
        (edited(7, parents=[-1, 3]), "block 7: parents must be earlier blocks"),
        (edited(7, parents=[3, 3]), r"block 7: parents must be two different blocks, got \(3, 3\)"),
        (edited(7, parents=[]), "block 7: parents must be two different blocks"),
        (edited(7, parents=[0, 1, 3]), "block 7: parents must be two different blocks"),
        (edited(7, parents="3,5"), "block 7: parents must be a list of block ids, got '3,5'"),
        (
            edited(7, block_type="basic"),
            "block 7: block_type must be one of bottleneck, residual, mbconv, got 'basic'",
        ),
        (
            edited(7, block_type=None),
            "block 7: block_type must be one of bottleneck, residual, mbconv, got None",
        ),
        (edited(7, level=8), r"block 7: level must be in 1..7, got 8"),
        (edited(7, level=0), r"block 7: level must be in 1..7, got 0"),
        (edited(7, level="4"), "block 7: level must be an integer, got '4'"),
        (edited(7, is_output=1), "block 7: is_output must be true or false, got 1"),
        (edited(7, id=8), "block 7: id must be 7"),
        (edited(13, is_output=False), "exactly one output block is needed at level 3, got none"),
        (edited(13, level=4), "exactly one output block is needed at level 3, got none"),
        (edited(4, is_output=True), "exactly one output block is needed at level 3, got 2"),
        (edited(2, is_output=True), r"output blocks stand at levels \(3, 4, 5, 6, 7\), got one at level 2"),
        ({**SPINENET_49.to_dict(), "arch_id": "0" * 12}, "arch_id: the file says '000000000000'"),
        (
            {**SPINENET_49.to_dict(), "schema_version": 99},
            "schema_version: this release reads versions 1 to 2, got 99; a newer spinesearch wrote this file",
        ),
        (
            {**SPINENET_49.to_dict(), "schema_version": True},
            "schema_version: this release reads versions 1 to 2, got True$",
        ),
        (
            {"images": [], "annotations": [], "categories": []},
            r"schema_version: missing, so this is no architecture spec \(its first keys: images, annotations",
        ),
        ({}, r"its first keys: none\); `spinesearch export RUN` writes specs"),
        ({**SPINENET_49.to_dict(), "stem": [], "blocks": []}, "stem: at least one block is needed"),
        ({**SPINENET_49.to_dict(), "blocks": "none"}, "blocks: expected a list of objects"),
        ({**SPINENET_49.to_dict(), "name": 3}, "name: expected a string, got 3"),
        ([1, 2], "spec: expected an object, got list"),
    ],
)
def test_a_bad_spec_file_is_one_clear_line(data, message, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data))
    with pytest.raises(SpecError, match=message) as caught:
        load_spec(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_spec_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(SPINENET_49.to_json(), encoding="utf-8-sig")
    assert load_spec(path) == SPINENET_49
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_spec(path) == SPINENET_49


def test_files_that_are_no_spec(tmp_path):
    with pytest.raises(SpecError, match=r"cannot be read: No such file"):
        load_spec(tmp_path / "absent.json")
    (tmp_path / "torn.json").write_text('{"schema_version": 1,')
    with pytest.raises(SpecError, match="not JSON"):
        load_spec(tmp_path / "torn.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        load_spec(tmp_path / "binary.json")
    with pytest.raises(SpecError, match=r"block 2: expected \(level, block_fn"):
        ArchSpec.from_tuples([(2, "bottleneck", (0, 1))])


@pytest.mark.parametrize("depth", [500, 900, 950, 970, 980, 990, 100_000])
@pytest.mark.parametrize("form", ["%s", '{"schema_version": %s}', '{"schema_version": 1, "stem": %s}'])
def test_deep_nesting_is_one_clear_line(depth: int, form: str, tmp_path):
    """Too deep to parse, deep enough to parse but not to print, and neither."""
    path = tmp_path / "deep.json"
    path.write_text(form % ("[" * depth + "]" * depth))
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    if depth == 100_000:
        assert "lists or objects are nested too deeply" in str(caught.value)


def test_a_number_too_long_to_read_is_one_clear_line(tmp_path):
    path = tmp_path / "long.json"
    path.write_text('{"schema_version": ' + "1" * 5000 + "}")
    with pytest.raises(SpecError, match="a number has too many digits") as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named():
    data = SPINENET_49.to_dict()
    del data["blocks"][3]["parents"]
    with pytest.raises(SpecError, match="block 5: missing field 'parents'"):
        ArchSpec.from_dict(data)


def test_a_stem_block_has_no_parents():
    with pytest.raises(SpecError, match="block 1: a stem block has no parents"):
        replace(SPINENET_49, stem=(BlockSpec(level=2), BlockSpec(level=2, parents=(0, 1))))


def test_drawing_names_every_block_and_edge():
    assert draw_spec(SPINENET_49).splitlines() == [
        "block     0    1    2    3    4    5    6    7    8    9    10   11   12   13   14   15   16",
        "L2       (B)  (B)   B    ·    ·    ·    ·    ·    ·    ·    ·    ·    ·    ·    ·    ·    ·",
        "L3        ·    ·    ·    ·    B    ·    ·    ·    ·    ·    ·    ·    ·   [B]   ·    ·    ·",
        "L4        ·    ·    ·    R    ·    B    ·    B    ·    ·    ·    ·   [B]   ·    ·    ·    ·",
        "L5        ·    ·    ·    ·    ·    ·    ·    ·    R    ·    B    B    ·    ·   [B]   ·    ·",
        "L6        ·    ·    ·    ·    ·    ·    R    ·    ·    ·    ·    ·    ·    ·    ·    ·   [B]",
        "L7        ·    ·    ·    ·    ·    ·    ·    ·    ·    R    ·    ·    ·    ·    ·   [B]   ·",
        "parents             0    0    2    2    3    3    6    6    8    8    5    4    7    5    12",
        "                    1    1    3    4    5    5    7    8    9    10   10   10   12   14   14",
        "+                                                                               11",
    ]


def test_drawing_of_mbconv_blocks_and_of_a_long_stem():
    lines = draw_spec(SPINENET_MOBILE_49).splitlines()
    assert lines[1] == "L1       (M)" + "   ·" + "    ·" * 16
    assert lines[2] == "L2        ·   (M)   M    M" + "    ·" * 14
    assert lines[-1].split() == ["+", "12"]

    # A stem block that only the rest of the chain reads is dead when nothing reads that.
    outputs = tuple(BlockSpec(level=level, parents=(0, 1), is_output=True) for level in (3, 4, 5, 6, 7))
    rising = ArchSpec(stem=(BlockSpec(level=2), BlockSpec(level=3)), blocks=outputs)
    assert draw_spec(rising).splitlines()[1:3] == [
        "L2       (B)   ·    ·    ·    ·    ·    ·",
        "L3        ·   (B)  [B]   ·    ·    ·    ·",
    ]
    longer = ArchSpec(stem=(BlockSpec(level=2),) * 4, blocks=outputs)
    assert draw_spec(longer).splitlines()[1] == "L2       (B)  (B)  (b)  (b)" + "   ·" + "    ·" * 4


def test_a_drawing_moves_together_when_the_line_is_short():
    wide = draw_spec(SPINENET_49).splitlines()
    assert draw_spec(SPINENET_49, max_width=92).splitlines() == wide
    narrow = draw_spec(SPINENET_49, max_width=80).splitlines()
    assert max(map(len, wide)) > 80 >= max(map(len, narrow))
    assert [line.split() for line in narrow] == [line.split() for line in wide]
