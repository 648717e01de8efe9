"""Evaluation of one checkpoint on sets in clip-benchmark's webdataset layout."""
