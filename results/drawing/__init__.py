"""Pictures that people look at: architectures as SVG and as pixels, detections on their images."""
