"""The validated panel: types, duplicates, gaps, closed days, quality, snapshots."""
