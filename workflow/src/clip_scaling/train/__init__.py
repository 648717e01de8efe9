"""Training of one cell: sample order, schedule, model, loop, checkpoint."""
