"""What watches a run as it goes: the display, TensorBoard, the mirror."""
