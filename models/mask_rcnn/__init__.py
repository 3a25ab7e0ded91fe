"""Mask R-CNN: proposals, crops of the features, boxes and masks."""
