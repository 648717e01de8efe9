"""This machine: its GPUs, which job holds which, and interpreters that are kept warm. Standard library only."""
