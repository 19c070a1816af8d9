"""One stream: its prompts, its cache, its noise and how far it is.

Shapes: latents are (B batch, C channels, frames, rows, columns), fp32.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from math import inf

import torch

from ..models.causal_wan import KV
from .decoder import Decoder, Pending
from .denoiser import CONTEXT, Cache, Denoiser, Forward
from .text import Encode

# Latents, which forward, the cache, the text's keys and values -> velocity.
Velocity = Callable[[torch.Tensor, Forward, Cache, Sequence[KV]], torch.Tensor]
OnStep = Callable[[int, int, torch.Tensor], None]  # block, step, clean latents as this step predicts them


@dataclass(frozen=True)
class Switch:
    """A prompt that takes effect with a block; `sample` None is all of the batch."""

    block: int
    prompt: str
    sample: int | None = None


@dataclass(frozen=True)
class Block:
    """A finished block: its number, its latents, whose prompts they follow, what was switched before it."""

    number: int
    latents: torch.Tensor
    prompts: tuple[str, ...]
    switches: tuple[Switch, ...] = ()


OnBlock = Callable[[Block], None]
Around = Callable[[Forward], AbstractContextManager[object]]  # entered before a forward, left after it
Due = tuple[Switch, list[KV]]  # a switch with the text of its prompt, (1, S, H, D) a layer


class Session:
    """A stream of blocks for a batch of prompts. One thread generates; any thread may switch."""

    def __init__(  # what the engine gives it
        self,
        denoiser: Denoiser,
        encode: Encode,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        decoder: Decoder | None = None,
        velocity: Velocity | None = None,
    ) -> None:
        self.denoiser, self.c = denoiser, denoiser.c
        self.prompts = list(prompts)
        self.number = 0  # of the next block
        self.on_step: list[OnStep] = []
        self.on_block: list[OnBlock] = []
        self.around_forward: list[Around] = []  # observers: clocks, names in a trace; the first is the outermost
        self.recached = 0  # latent frames computed again by switches
        self.forwards = 0
        self._encode, self._decoder, self._decoded = encode, decoder, 0
        self._velocity = velocity or denoiser.velocity
        self._cache = denoiser.cache(len(prompts))
        self._texts = denoiser.text(encode(self.prompts))
        self._noise = [torch.Generator(denoiser.device).manual_seed(seed) for seed in seeds]
        self._past: deque[torch.Tensor] = deque(maxlen=self.c.window_blocks)
        self._pending: list[Due] = []
        self._lock = threading.Lock()
        self._running = False
        self._context_due = False

    @property
    def batch(self) -> int:
        return len(self.prompts)

    def switch(self, prompt: str, sample: int | None = None) -> Switch:
        """Change the prompt of one sample, or of all, from the next block on; says which block that is.

        The prompt is encoded here, in the caller's thread. Of two switches for one block the later one holds, and
        only that one is kept, however many come.
        Raises `ValueError`, a sentence, for a sample that there is none of.
        """
        if sample is not None and not 0 <= sample < self.batch:
            raise ValueError(f"There is no sample {sample}; this stream has {self.batch}, counted from 0.")
        texts = self.denoiser.text(self._encode([prompt]))
        with self._lock:
            switch = Switch(self.number + self._running, prompt, sample)
            self._pending = _latest([*self._pending, (switch, texts)])
        return switch

    @torch.inference_mode()
    def generate_block(self) -> Block:
        """The next block of latent frames. Nothing in it waits for the device.

        Raises `ValueError`, a sentence, where another thread is making a block.
        """
        with self._lock:
            if self._running:
                raise ValueError(f"Block {self.number} is being made; a stream makes one block at a time.")
            due, self._pending = self._pending, []
            self._running = True
        try:
            block = self._generate(due)
        except BaseException:
            with self._lock:
                self._running, self._pending = False, _latest([*due, *self._pending])
            raise
        with self._lock:
            self.number += 1
            self._running = False
        for told in self.on_block:
            told(block)
        return block

    @torch.inference_mode()
    def teach(self, latents: torch.Tensor) -> None:
        """Go on as if the last block had been these latents, as a reference made them (teacher forcing).

        Raises `ValueError`, a sentence, before the first block, and for latents of another shape.
        """
        if not self.number:
            raise ValueError("A stream is taught after a block; none is done.")
        if latents.shape != self._past[-1].shape:
            raise ValueError(f"The last block is {tuple(self._past[-1].shape)}; {tuple(latents.shape)} was taught.")
        self._past[-1] = latents.to(self._past[-1])
        if not self._context_due:  # its keys and values are there already, and are written again
            self._context_pass((self.number - 1) * self.c.block)

    @torch.inference_mode()
    def warm(self) -> int:
        """Run every forward that a stream can need once, on zeros: while the window fills, full, folded, recached.

        The decoder, where there is one, decodes two blocks. What is compiled, captured or tabulated is so afterwards.
        Says how many forwards that took.
        Raises `ValueError`, a sentence, after the first block.
        """
        if self.number:
            raise ValueError(f"A stream is warmed before its first block; {self.number} are done.")
        c = self.c
        for row in range(len(c.steps)):
            self.denoiser.times((row,), self.batch)
        for block in range(2 * c.window_blocks - c.sink_blocks):
            start = block * c.block
            for what in self._forwards_at(start):
                zeros = torch.zeros(c.latent_shape(self.batch, c.block * len(what.rows)), device=self.denoiser.device)
                self._forward(zeros, what)
            for sample in (None, *(range(self.batch) if self.batch > 1 else ())):
                self._recache(start + c.block, sample, zeros=True)
        self._cache.reset()
        if self._decoder is not None:
            self._decoder.warm(torch.zeros(c.latent_shape(self.batch), device=self.denoiser.device))
        done, self.forwards, self.recached = self.forwards, 0, 0
        return done

    def _forwards_at(self, start: int) -> list[Forward]:
        whats = [Forward(start, (0,)), Forward(start, (CONTEXT,))]
        if self.c.context == "fold" and start:
            whats.insert(0, Forward(start - self.c.block, (CONTEXT, 0)))
        return whats

    def run(self, blocks: int | None, switches: Mapping[int, str] | None = None) -> Iterator[Block]:
        """So many blocks from here on, or without end (None); `switches` says with which block a prompt begins.

        Raises `ValueError`, a sentence, for no blocks, and for a switch beyond them.
        """
        if blocks is not None and blocks < 1:
            raise ValueError(f"blocks is {blocks}; a stream has at least 1.")
        first, last = self.number, inf if blocks is None else self.number + blocks - 1
        switches = dict(switches or {})
        if wrong := [at for at in switches if not first <= at <= last]:
            raise ValueError(f"A switch at block {wrong[0]} is beyond the stream: its blocks are {first} to {last}.")
        return self._run(last, switches)

    def _run(self, last: float, switches: Mapping[int, str]) -> Iterator[Block]:
        while self.number <= last:
            if self.number in switches:
                self.switch(switches[self.number])
            yield self.generate_block()

    def frames(self, blocks: int | None, switches: Mapping[int, str] | None = None) -> Iterator[torch.Tensor]:
        """The decoded frames of `run`, one at a time: (B, 3, height, width) in [-1, 1].

        Raises `ValueError`, as `run` and `decode` do.
        """
        for block in self.run(blocks, switches):
            yield from self.decode(block).unbind(2)

    def check_follows(self, other: Session) -> None:
        """ValueError where this stream cannot take over another one's past."""
        ours, theirs = ((s.c.cache, s.c.context, s.c.window, s.c.sink, s.batch) for s in (self, other))
        if ours != theirs:
            raise ValueError(
                f"A stream follows one with its own cache, context, window and batch: {ours}, not {theirs}."
            )

    @torch.inference_mode()
    def follow(self, other: Session) -> None:
        """Take over another stream's cache and past, as if this one had made them; text stays its own."""
        self._cache.take(other._cache)
        self._past.clear()
        self._past.extend(other._past)
        self._context_due = other._context_due

    def decode(self, block: Block) -> torch.Tensor:
        """Pixels of a block, (B, 3, frames, height, width) in [-1, 1]; blocks are decoded in their order.

        Raises `ValueError`, as `decode_later` does.
        """
        return self.decode_later(block).wait()

    def decode_later(self, block: Block) -> Pending:
        """The same, beside the next block where the decoder has a stream of its own; `wait()` gives the pixels.

        Raises `ValueError`, a sentence, without a decoder, and for a block that is not the next.
        """
        if self._decoder is None:
            raise ValueError("This stream has no decoder: give the engine one, or take the latents.")
        if block.number != self._decoded:
            raise ValueError(f"Block {block.number} cannot be decoded now: block {self._decoded} comes next.")
        self._decoded += 1
        return self._decoder.later(block.latents)

    def _generate(self, due: list[Due]) -> Block:
        d, c, start = self.denoiser, self.c, self.number * self.c.block
        all_switch = {s for switch, _ in due for s in self._samples(switch)} == set(range(self.batch))
        fold = self._context(start, bool(due), all_switch)
        self._apply(due, start)

        x, *fresh = self._draw(len(c.steps))
        clean = x
        for step in range(len(c.steps)):
            if step == 0 and fold:
                both = torch.cat((self._past[-1], x), dim=2)
                velocity = self._forward(both, Forward(start - c.block, (CONTEXT, 0)))[:, :, c.block :]
            else:
                velocity = self._forward(x, Forward(start, (step,)))
            clean = d.schedule.clean(step, x, velocity)
            for told in self.on_step:
                told(self.number, step, clean)
            if step + 1 < len(c.steps):
                x = d.schedule.noised(step + 1, clean, fresh[step])
        self._past.append(clean)
        self._context_due = True
        if c.context == "after":
            self._context_pass(start)
        return Block(self.number, clean, tuple(self.prompts), tuple(switch for switch, _ in due))

    def _context(self, start: int, switching: bool, all_switch: bool) -> bool:
        """Settle the last block's context pass before a block; True where its first step brings it along."""
        if not self._context_due:
            return False
        c = self.c
        in_sink = self.number - 1 < c.sink_blocks
        if switching and all_switch and not in_sink:
            self._context_due = False  # the recache writes those places again
        elif switching or c.context != "fold":
            self._context_pass(start - c.block)
        else:
            self._context_due = False
            return True
        return False

    def _context_pass(self, start: int) -> None:
        self._forward(self._past[-1], Forward(start, (CONTEXT,)))
        self._context_due = False

    def _apply(self, due: list[Due], start: int) -> None:
        """New prompts in, and the last frames computed again under them."""
        changed: set[int] = set()
        for switch, texts in due:
            rows = slice(None) if switch.sample is None else slice(switch.sample, switch.sample + 1)
            for mine, new in zip(self._texts, texts, strict=True):
                for x_BSHD, value in zip(mine, new, strict=True):
                    x_BSHD[rows].copy_(value)
            for sample in self._samples(switch):
                self.prompts[sample] = switch.prompt
                changed.add(sample)
        if len(changed) == self.batch:
            self._recache(start, None)
        else:
            for sample in sorted(changed):
                self._recache(start, sample)

    def _recache(self, start: int, sample: int | None, zeros: bool = False) -> None:
        c = self.c
        frames = min(c.window, start) if c.recache == "window" else min(c.window - c.sink, max(0, start - c.sink))
        if not frames:
            return
        blocks = frames // c.block
        what = Forward(start - frames, (CONTEXT,) * blocks, recache=True, sample=sample)
        if zeros:
            past = torch.zeros(c.latent_shape(self.batch, frames), device=self.denoiser.device)
        else:
            past = torch.cat(list(self._past)[-blocks:], dim=2)
        self._forward(past[what.samples], what)
        self.recached += frames

    def _forward(self, x: torch.Tensor, what: Forward) -> torch.Tensor:
        texts = [(k[what.samples], v[what.samples]) for k, v in self._texts]
        self.forwards += 1
        with ExitStack() as stack:
            for around in self.around_forward:
                stack.enter_context(around(what))
            return self._velocity(x, what, self._cache, texts)

    def _draw(self, count: int) -> tuple[torch.Tensor, ...]:
        """Noise for a block: where it starts, and what its later steps add; each sample has its own source."""
        _, *shape = self.c.latent_shape(1)
        device = self.denoiser.device
        each = [torch.randn((count, *shape), generator=g, device=device) for g in self._noise]
        return torch.stack(each, dim=1).unbind(0)

    def _samples(self, switch: Switch) -> range:
        return range(self.batch) if switch.sample is None else range(switch.sample, switch.sample + 1)


def _latest(due: list[Due]) -> list[Due]:
    """Switches without those that a later one makes void."""
    kept: list[Due] = []
    for each in due:
        sample = each[0].sample
        kept = [] if sample is None else [old for old in kept if old[0].sample != sample]
        kept.append(each)
    return kept
