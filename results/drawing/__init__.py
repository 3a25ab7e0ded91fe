"""Pictures that people look at: architectures as SVG, in pure Python."""
