"""What a trained network is worth: detections and COCO AP."""
