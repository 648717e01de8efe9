"""Tables of results that users bring: from their file to a tidy table."""
