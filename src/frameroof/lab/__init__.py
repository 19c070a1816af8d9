"""What measures: whole pipelines that run with random weights, and the characterisation of them by running."""
