"""What leaves the project: locks of results, the RO-Crate of a study, trained cells as open_clip models."""
