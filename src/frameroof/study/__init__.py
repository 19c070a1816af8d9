"""What needs no torch: predictions, sweeps, reproductions of published numbers."""
