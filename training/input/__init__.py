"""From packed images to batches on the device: loading and augmentation."""
