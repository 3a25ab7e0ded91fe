"""Data for the tests of training steps."""

import pytest

from spinesearch.data.open import GeneratedDataSettings, ProxyData, open_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ProxyData:
    settings = GeneratedDataSettings(
        num_images=16, num_val_images=2, cache_dir=str(tmp_path_factory.mktemp("cache"))
    )
    return open_data(settings, image_size=128)
