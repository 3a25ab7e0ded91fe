"""The line that says how long a training will take."""

import io

from rich.console import Console

from spinesearch.search.training.train_display import TrainDisplay


def shown(known: tuple[float, str] | None, num_steps: int) -> list[str]:
    file = io.StringIO()
    display = TrainDisplay(Console(file=file, width=200), batch_size=4, num_images=40)
    if known is not None:
        display.estimated(*known)
    display.begun(20, 100)
    for step in range(20, 20 + num_steps):
        display.stepped(step, 1.0, 0.1)
    return [line for line in file.getvalue().splitlines() if line.startswith("estimate: ")]


def test_what_is_on_record_is_said_at_once_else_the_first_steps_say_it():
    assert shown((2.0, "as in runs/x"), 15) == ["estimate: about 3 min for 80 steps, as in runs/x"]
    assert shown(None, 9) == []
    (line,) = shown(None, 15)
    assert line.endswith(" for 70 steps, by the first 10 steps, measurements not counted")
