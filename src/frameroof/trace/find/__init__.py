"""Finding: what the work table tells about a run. Each file answers one question and changes no row.

`attention`: which calls, of which sizes and kinds. `stages`: which part of the pipeline. `idle`: why the device stood
still. `host_waits`: where the host waited for it. `elementwise_chains`, `repeated_text_kv`: work that could be saved.
`communication`: how much was exposed. `ranks`: several devices side by side. `above_peak`: rates that cannot be.
"""
