"""The proxy task: ``score(spec, seed)`` trains a small RetinaNet on COCO-format data. No search in here.

Imports nothing by itself, so that light commands stay light: import `spinesearch.proxy_task.task` and its
neighbours.
"""
