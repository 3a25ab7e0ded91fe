"""A search and its studies: settings, loop, reward, workers, resuming. Imports nothing by itself."""
