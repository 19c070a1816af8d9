"""Reading an SQLite export of Nsight Systems into the same columns as a PyTorch profiler's file."""
