"""Resolving: the events of a trace -> one row for every piece of work, with its operator, module, class and cost.

`link` follows work back to the host, `work_table` makes the rows (`clip_durations` of times that can be, `classify` of
a class each), `graph_capture` fills in what a graph replay does not say, `cost_of_work` counts FLOPs and bytes.
"""
