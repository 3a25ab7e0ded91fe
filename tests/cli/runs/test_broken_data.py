"""Broken images under a search: refused with a name, or skipped and counted on request."""

from pathlib import Path

from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.results.ledger.run import load_run


def test_a_search_starts_on_broken_images_only_when_set_to_skip_them(coco, tmp_path: Path, capsys):
    images, annotations, command = coco
    command = [*command, "search.num_trials=1"]
    first, second, third = sorted(images.iterdir())[:3]
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    second.write_bytes(b"")
    fails(command, rf"image {first}: cannot be decoded .*set data\.skip_broken=true .*\(2 of 16 ", capsys)
    third.unlink()
    fails(command, rf"'{third.name}' is missing \(1 of 16 .*data\.skip_broken=true", capsys)
    assert not (tmp_path / "runs").exists()

    assert main([*command, "data.skip_broken=true"]) == 0
    out = capsys.readouterr().out
    line = f"warning: {annotations}: 3 images are left out (data.skip_broken): {first.name} cannot be decoded"
    assert out.count(line) == 1
    assert "; and 2 more" in out
    run = load_run(tmp_path / "runs" / "run")[0]
    assert run.num_done == 1
    counted = run.sessions[0]["data"]
    assert counted["num_train_images"] + counted["num_held_out_images"] == 13

    # What was skipped belongs to what the run was begun on.
    first.write_bytes(whole)
    resume = ["resume", str(tmp_path / "runs" / "run"), "search.num_trials=2"]
    fails(resume, "data: this run was begun on other images or annotations", capsys)
    first.write_bytes(b"broken again")
    assert main(resume) == 0
    assert load_run(tmp_path / "runs" / "run")[0].num_done == 2
    fails([*resume, "data.skip_broken=false"], "data.skip_broken: this run was begun with True", capsys)
    fails([*resume, "data.storage=jpeg"], "data.storage: this run was begun with 'raw'", capsys)


def test_a_search_on_jpegs(coco, tmp_path: Path, capsys):
    *_, command = coco
    assert main([*command, "search.num_trials=1", "data.storage=jpeg"]) == 0
    out = capsys.readouterr().out
    assert "packing 16 images at 128 x 128 pixels: about " in out
    assert "packed 16 images in " in out
    assert load_run(tmp_path / "runs" / "run")[0].num_done == 1
    assert [path.name for path in (tmp_path / "coco_cache" / "packs").glob("[!.]*/images.*")] == [
        "images.jpegs"
    ]
