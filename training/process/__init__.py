"""The process a training runs in: device, threads, failures, time."""
