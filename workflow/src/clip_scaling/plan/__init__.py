"""What a study will do, cost and teach before it runs; where it stands while it runs; reruns by name."""
