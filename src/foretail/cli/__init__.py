"""The command line: one verb per pipeline; it parses, calls and shows."""
