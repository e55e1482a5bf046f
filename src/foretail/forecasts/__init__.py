"""The forecast table: produced, checked, written, read back."""
