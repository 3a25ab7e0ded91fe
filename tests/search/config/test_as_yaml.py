"""``--cfg``: yaml that reads back as the configuration, with the comments of the files it comes from."""

import yaml

from spinesearch.search.config.as_yaml import to_yaml
from spinesearch.search.config.run_config import compose, composed_yaml, run_config


def lines(text: str) -> dict[str, str]:
    return {line.split(":")[0].strip(): line for line in text.splitlines()}


def test_it_reads_back_as_what_was_composed():
    odd = ["name=12e4567", "label=1.10", "data.cache_dir=/a'b: #c", "runs_dir=${x} - für", "mirror='null'"]
    for words in ([], ["experiment=paper"], odd, ["space=fish", "search.resources_per_trial={a: 0.5}"]):
        config = compose(words)
        assert yaml.safe_load(composed_yaml(words)) == config
    recorded = run_config(compose(odd)).to_dict()
    assert run_config(yaml.safe_load(to_yaml(recorded))).to_dict() == recorded


def test_numbers_of_other_readers_of_yaml_are_quoted():
    assert "name: '12e4567'" in composed_yaml(["name=12e4567"])


def test_every_setting_keeps_its_comment():
    found = lines(composed_yaml([]))
    assert found["generation_size"] == "  generation_size: 8  # candidates per update of the controller"
    assert found["stem"].startswith("  stem: [L2, L2]  # levels of the blocks")
    assert found["mirror"].endswith("it needs a name (docs/cluster.md)")  # of its comment's second line
    text = composed_yaml([])
    assert "\n  # Statistics of a batch of 3 differ by chance; those that evaluation uses are of 128 " in text


def test_comments_are_those_of_the_files_chosen():
    found = lines(composed_yaml(["experiment=paper"]))
    assert found["lr"] == "  lr: 0.08  # cloud, for batches of 64"
    assert found["train_images"].startswith("  train_images: '???'  # folder with")
    assert "lr: 0.15\n" in composed_yaml(["proxy_task=small"])


def test_what_a_comment_says_of_the_files_value_is_not_said_of_another():
    found = lines(composed_yaml(["proxy_task=paper", "proxy_task.lr=0.5", "seed=3"]))
    assert found["lr"] == "  lr: 0.5  # default 0.08; cloud, for batches of 64"
    assert found["num_epochs"] == "  num_epochs: 5  # paper"


def test_a_recorded_configuration_has_comments_where_its_files_are_known():
    found = lines(to_yaml(run_config(compose(["controller=random"])).to_dict()))
    assert "# candidates per update of the controller" in found["generation_size"]
    assert found["lr"] == "  lr: 0.15"  # small's or another's: a ledger does not say
