"""The sections of a study file as pydantic models, one module a section. `study/file.py` puts them together."""
