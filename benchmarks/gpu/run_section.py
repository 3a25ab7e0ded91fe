"""One section of the GPU check, in its own process, which may crash or be killed: started by gpu_check.py.

python benchmarks/gpu/run_section.py MODULE FUNCTION PARTS_FILE [--quick]

Appends a line of JSON to PARTS_FILE for each part as soon as it is known.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from check_parts import Part


def main() -> None:
    """Run the section."""
    module, function, path, *options = sys.argv[1:]
    with Path(path).open("a", encoding="utf-8") as file:

        def emit(part: Part) -> None:
            file.write(json.dumps(asdict(part)) + "\n")
            file.flush()

        getattr(importlib.import_module(module), function)("--quick" in options, emit)


if __name__ == "__main__":
    main()
