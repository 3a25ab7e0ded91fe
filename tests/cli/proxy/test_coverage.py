import json

from cli_checks import fails

from spinesearch.cli.main import main


def test_coverage_of_the_generated_data_is_printed(tiny, capsys):
    command = ["proxy", "coverage", *(text for text in tiny if text.startswith(("data.", "proxy_task=")))]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["proxy"]["setting"] == {"image_size": 128, "num_scales": 1, "base_anchor": 3.0}
    assert document["target"]["setting"] == {"image_size": 640, "num_scales": 3, "base_anchor": 3.0}
    assert [level["level"] for level in document["proxy"]["levels"]] == [3, 4, 5, 6, 7]
    assert abs(sum(level["positives"] for level in document["target"]["levels"]) - 1) < 1e-6
    assert 6 in document["unseen"]  # anchors of 192 px on images of 128
    assert main([*command, "--target", "image_size=256", "--target", "num_scales=1"]) == 0
    out = capsys.readouterr().out
    assert "at 128 px, 1 x 3  |  at 256 px, 1 x 3" in out
    assert "less than 5 % of the positives of the target" in out
    assert main([*command, "--target=image_size=128", "--target=num_scales=1"]) == 0
    assert "every output is trained: the least, P" in capsys.readouterr().out  # beside itself


def test_targets_that_cannot_be(tiny, capsys):
    for target, message in (
        ("image_size=64", "--target image_size: must be at least the proxy's 128, got 64"),
        ("image_size=700", "--target image_size: must be a positive multiple of 128"),
        ("image_size=big", "--target image_size: must be a whole number, got 'big'"),
        ("num_scales=0", "--target num_scales: must be an integer of at least 1, got 0"),
        ("base_anchor=nan", "--target base_anchor: must be a finite number above 0"),
        ("size=640", "--target: must be KEY=VALUE with one of image_size, num_scales, base_anchor, got"),
    ):
        fails(["proxy", "coverage", *tiny, "--target", target], message, capsys)


def test_a_classifier_has_no_anchors(capsys):
    classifier = ["proxy_task=small", "proxy_task.task=classification", "data=classes", "data.train_images=."]
    metrics = ["search.reward_metric=top1", "search.finalist_metric=top1"]
    message = "proxy_task.task: a classifier has no anchors, so there is no coverage to measure; ask with"
    fails(["proxy", "coverage", *classifier, *metrics], message, capsys)
