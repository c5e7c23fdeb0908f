"""Deterministic file content: the same bytes here and in `pattern.ts`, from a seed and a size.

`random` is SHAKE128 of the seed, which no compressor shrinks. `text` is lines of 63 hex digits, which halve.
`zero` is zeroes.
"""

import _sha3


def pattern_bytes(kind, seed, size):
    if kind == 'zero':
        return bytes(size)
    if kind == 'random':
        return _sha3.shake_128(str(seed).encode()).digest(size)
    if kind == 'text':
        digits = _sha3.shake_128(str(seed).encode()).hexdigest(size // 2 + 1)
        lines = (digits[at:at + 63] for at in range(0, size, 63))
        return '\n'.join(lines).encode()[:size]
    raise ValueError(f'unknown pattern {kind!r}')
