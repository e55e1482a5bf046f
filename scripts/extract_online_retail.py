"""Make the extract of Online Retail II that the project ships: real, dirty invoice lines of a few hundred products.

    python scripts/extract_online_retail.py FOLDER_OF_THE_ORIGINALS [--out examples/online_retail]

Lines are left out, never changed: the two files keep their own column names, their overlap of nine days, repeated
lines, cancellations, write-offs at price 0 and stock codes that are no products. What is kept:

- every line of the products chosen: the best sellers by revenue and, in equal steps down the list, others of every
  rank, seldom sold ones too;
- every line whose stock code is no product.

The choice depends on the data alone, so the same originals give the same extract.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import polars as pl

BEST = 130  # products with the largest revenue
OTHERS = 100  # products in equal steps down the rest of the list
NAMES = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}
OUT = ("online_retail_II_extract_2009-12_2010-12.parquet", "online_retail_II_extract_2010-12_2011-12.parquet")


def main() -> int:
    """Write the two files and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds the two original Parquet files")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "examples" / "online_retail")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.parquet"), key=lambda path: pl.read_parquet(path, n_rows=1)["InvoiceDate"][0])
    if len(files) != len(OUT):
        sys.stderr.write(f"{options.folder} holds {len(files)} Parquet files instead of {len(OUT)}\n")
        return 1
    frames = [pl.read_parquet(path) for path in files]
    kept = chosen_products(pl.concat([frame.rename(NAMES, strict=False) for frame in frames]))
    options.out.mkdir(parents=True, exist_ok=True)
    for frame, name in zip(frames, OUT, strict=True):
        extract = frame.filter(product().is_in(kept.implode()) | ~is_product())
        path = options.out / name
        extract.write_parquet(path, compression="zstd", compression_level=22)
        sys.stderr.write(f"{path}: {len(extract)} of {len(frame)} lines, {path.stat().st_size / 1e6:.2f} MB\n")
    return 0


def product() -> pl.Expr:
    """The stock code without differences of case and blanks."""
    return pl.col("StockCode").str.strip_chars().str.to_uppercase()


def is_product() -> pl.Expr:
    """Whether the stock code is a product's: five digits and up to two letters."""
    return product().str.contains(r"^\d{5}[A-Z]{0,2}$")


def chosen_products(lines: pl.DataFrame) -> pl.Series:
    """The stock codes to keep, from the lines of both files."""
    revenue = pl.col("Quantity").clip(0) * pl.col("UnitPrice")
    ranked = (
        lines.filter(is_product())
        .group_by(product())
        .agg(revenue.sum().alias("revenue"))
        .filter(pl.col("revenue") > 0)
        .sort("revenue", "StockCode", descending=[True, False])["StockCode"]
    )
    rest = ranked[BEST:]
    return pl.concat([ranked[:BEST], rest.gather_every(len(rest) // OTHERS)])


if __name__ == "__main__":
    sys.exit(main())
