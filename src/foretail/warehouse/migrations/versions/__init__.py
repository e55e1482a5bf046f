"""One file per change of the tables; a revision is never edited once released."""
