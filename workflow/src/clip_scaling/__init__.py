"""Scaling laws for contrastive language-image learning, as a library for the workflow's scripts."""
