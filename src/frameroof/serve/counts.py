"""What the server counts, for Prometheus: one registry a server, every name and its meaning here."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from ..outside import clean
from .source import Facts

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30)
disable_created_metrics()  # type: ignore[no-untyped-call] # a line more for each, that nobody asked for
HOW = ("late", "skipped", "left")  # why frames were dropped


class Counts:
    """Counters, gauges and histograms; safe between threads."""

    def __init__(self, facts: Facts) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"frameroof_stream_{name}", what, labels, registry=registry)

        def seconds(name: str, what: str) -> Histogram:
            return Histogram(f"frameroof_stream_{name}_seconds", what, buckets=SECONDS, registry=registry)

        self.opened = counter("sessions_opened", "Sessions begun.")
        self.resumed = counter("sessions_resumed", "Sessions that a viewer came back to.")
        self.refused = counter("refused", "What was asked for and refused.", "why")
        self.failed = counter("sessions_failed", "Sessions that ended with an error.")
        self.blocks = counter("blocks", "Blocks generated and decoded.")
        self.switches = counter("switches", "Prompts that took effect.")
        self.made = counter("frames_made", "Frames of video made.")
        self.sent = counter("frames_sent", "Frames sent to viewers.")
        self.shown = counter("frames_shown", "Frames that viewers said to have shown.")
        self.dropped = counter(
            "frames_dropped",
            "Frames never sent: late (queue full), skipped (a new prompt's were ready), left (the session ended).",
            "why",
        )
        self.stalls = counter("stalls", "Times that a frame was due before it was made.")
        self.block_s = seconds("block", "Generation of a block.")
        self.decode_s = seconds("decode", "Decoding of a block.")
        self.visible_s = seconds("prompt_to_shown", "From a prompt's arrival until its first frame was shown.")
        for why in HOW:
            self.dropped.labels(why)  # there with 0 before the first one
        info = Gauge(
            "frameroof_stream_info", "What is served.", ("model", "variant", "device", "notice"), registry=registry
        )
        info.labels(*map(clean, (facts.model, facts.variant, facts.device, " ".join(facts.says)))).set(1)

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A number that is asked for whenever the metrics are read."""
        Gauge(f"frameroof_stream_{name}", what, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self.registry)
