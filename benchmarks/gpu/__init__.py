"""The sections of `benchmarks/gpu.py`: what is checked and measured on a GPU, and how it is written down.

`record` keeps the file of a section, `limits` predicts, `clock` takes samples; every other file is a section with
`run(session)`. Nothing here needs msgspec, polars or diffusers, except the section `suite`.
"""
