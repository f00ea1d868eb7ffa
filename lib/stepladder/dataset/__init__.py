"""Read and validate a dataset folder, and hold it in memory."""

from stepladder.dataset.folder import SPLITS, Dataset, Update, find_quote, gold_context
from stepladder.dataset.lines import MAX_LINE_BYTES
from stepladder.dataset.reader import DatasetError, load
from stepladder.dataset.rows import Brief, Prices

__all__ = ["MAX_LINE_BYTES", "SPLITS", "Brief", "Dataset", "DatasetError", "Prices", "Update", "find_quote", "gold_context", "load"]
