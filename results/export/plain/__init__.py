"""Networks as plain modules of torch alone: what an exported Python file is put together from.

Nothing here imports anything of ours but a neighbour or, to crop regions, `models.mask_rcnn.crop`, which
imports torch alone: so the files' texts, one after the other, are a file that needs torch only
(`results.export.python_file`). The other exports are made from these modules too: they have the state dicts
of `spinesearch.models`, without its rewrites for training.
"""
