"""One step of a training, eager or captured as a CUDA graph."""
