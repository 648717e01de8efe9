"""Sources, nested subsets, packed arrays and evaluation sets (docs/data.md)."""
