"""Figures and the report page: from tables and law files to things a person reads. Numbers are read, never made."""
