"""Turn data in a common shape into a dataset folder: `stepladder import KIND SOURCE DEST`."""

from stepladder.importers.options import SHARES, Options, parse_pair, parse_shares
from stepladder.importers.run import KINDS, import_data

__all__ = ["KINDS", "SHARES", "Options", "import_data", "parse_pair", "parse_shares"]
