"""Reading: a trace file of any writer -> `Trace`, its events as columns. What an event means is not asked here.

`file` opens it, `decompress` unpacks it, `pieces` cuts the text between events, `decode` makes events of each piece
(`decode_process` in a second process, `repair` where the text is broken), `column_builder` collects them in `columns`.
"""
