"""Where sales come from: files, known public layouts, the synthetic world."""

from foretail.sources.open import LAYOUTS, open_table
from foretail.sources.table import Table

__all__ = ["LAYOUTS", "Table", "open_table"]
