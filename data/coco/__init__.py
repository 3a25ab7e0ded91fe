"""Annotation files in COCO's layout: read and checked."""
