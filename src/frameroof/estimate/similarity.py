"""Memory of the similarity matrix over a UNet (Golden et al., section V-A)."""

from __future__ import annotations


def similarity_matrix_bytes(
    height: int, width: int, text_tokens: int, depth: int, factor: int = 2, bytes_per_element: int = 2
) -> float:  # six: the symbols of the formula
    """Bytes of every similarity matrix of one UNet pass, one head, batch 1 (Golden et al., section V-A).

    `height` and `width` are those of the latent, `text_tokens` the encoded prompt's length, `depth`
    the number of down-sampling stages and `factor` what each divides both sides by. One self- and
    one cross-attention at every level on the way down, again on the way up, and once at the bottom::

        2 [ 2 sum_{n=0}^{depth-1} HW/f^{2n} (HW/f^{2n} + text) + HW/f^{2 depth} (HW/f^{2 depth} + text) ]

    The result grows with the square of the latent's area: with the fourth power of its side.
    Raises `ValueError` for sizes below 1.
    """
    if min(height, width, depth + 1, factor, bytes_per_element) < 1 or text_tokens < 0:
        raise ValueError("height, width, factor and bytes are at least 1, depth and text tokens at least 0")

    def level(n: int) -> float:
        area: float = height * width / factor ** (2 * n)
        return area * (area + text_tokens)

    return bytes_per_element * (2 * sum(level(n) for n in range(depth)) + level(depth))
