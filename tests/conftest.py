"""Which tests run beside each other, for `make test` with its two processes."""

import pytest

pytest_plugins = ["data_fixtures", "run_fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray's tests first and in one process, since two Rays crowd two cores; others file by file."""
    items.sort(key=lambda item: not _needs_ray(item))
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if _needs_ray(item) else str(item.path)))


def _needs_ray(item: pytest.Item) -> bool:
    return item.get_closest_marker("ray") is not None or "cluster" in getattr(item, "fixturenames", ())
