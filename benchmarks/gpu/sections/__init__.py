"""What the GPU check measures: one module per section, each with a `run(quick, emit)`."""
