"""Measures a trained network: detections and COCO AP."""
