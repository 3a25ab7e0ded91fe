"""Moved to `spinesearch.data.whole_file`."""

from spinesearch.data.whole_file import file_name as file_name
from spinesearch.data.whole_file import write_whole as write_whole
