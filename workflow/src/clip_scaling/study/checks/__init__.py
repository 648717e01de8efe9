"""Cross-section checks of a study file: problems are listed together, each with its place in the file."""
