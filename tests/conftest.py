"""The order of the tests, for all folders."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most waiting first: Ray's. Last, they would leave one of two processes without work."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)
