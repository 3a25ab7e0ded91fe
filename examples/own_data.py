"""Search on your own images, from Python: what `spinesearch search data=coco ...` does, and what it found.

    python examples/own_data.py IMAGES_FOLDER ANNOTATIONS.json [key=value ...]

Settings are those of `spinesearch search --cfg`. The same command again resumes the search.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from spinesearch import build_backbone
from spinesearch.results.export.specs import export_top
from spinesearch.results.finalists import final_ranking
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.session import search


def main(arguments: Sequence[str]) -> None:
    """Search, print the best, and build it with initial weights."""
    if len(arguments) < 2:
        raise ValueError("usage: python examples/own_data.py IMAGES_FOLDER ANNOTATIONS.json [key=value ...]")
    images, annotations, *settings = arguments
    words = ["data=coco", f"data.train_images={images}", f"data.train_annotations={annotations}"]
    config = run_config(compose([*words, "name=own_data", *settings]))
    run_dir = Path(config.runs_dir) / "own_data"
    run = search(config, run_dir, Console())
    for rank, trial in enumerate(final_ranking(run)[:3], start=1):
        print(f"{rank}. trial {trial.trial}, {trial.arch_id}: {trial.reward:.4f}")
    (best,) = export_top(run, top=1, run_name="own_data", run_dir=run_dir, output_dir=run_dir / "export")
    backbone = build_backbone(str(best))
    print(f"{best}: {sum(weight.numel() for weight in backbone.parameters()):,} parameters")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:  # bad input, which its one line explains
        sys.exit(str(error))
