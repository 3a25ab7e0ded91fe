"""Backbones in the forms that other detection frameworks take: each wraps one of ours and adds no weights."""
