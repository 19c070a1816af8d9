"""What runs streams: a clip from prompts, and the bench with the latency report's figures and its log."""
