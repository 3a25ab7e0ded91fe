"""The generated data set: shapes and textures, drawn from a seed."""
