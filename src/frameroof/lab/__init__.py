"""What measures: whole pipelines that run with random weights, and the characterization of them by running."""
