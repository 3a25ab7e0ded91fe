"""The proxy task at its least: a candidate takes a second."""

from spinesearch.proxy_task.settings import ProxySettings

TINY_TASK = ProxySettings(
    image_size=128,
    filter_size_scale=0.0625,
    resample_alpha=0.5,
    endpoints_num_filters=16,
    head_num_convs=1,
    head_num_filters=16,
    num_scales=1,
    num_steps=2,
    batch_size=4,
    optimizer="adamw",
    lr=1e-3,
    bn_recalibration_batches=1,
    device="cpu",
)
