"""How far the parts of a text lie from its training part, told without any network.

    python benchmarks/text_parts.py TEXT

The share of the words of the validation and the test part that the training part lacks, and the
loss of a character model of the last five characters that counted the training part: interpolated
with Witten and Bell's weights (Witten and Bell 1991, IEEE Transactions on Information Theory,
method C). The parts are those of the task ``text`` with its default split.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter, defaultdict

from workers.tasks.files import decode, read_bytes
from workers.tasks.splits import DEFAULT_SPLIT, contiguous

CONTEXT = 5
Counts = dict[str, Counter[str]]


def counted(text: str) -> Counts:
    """How often each character follows each context of up to `CONTEXT` characters."""
    counts: Counts = defaultdict(Counter)
    for at, character in enumerate(text):
        for length in range(min(at, CONTEXT) + 1):
            counts[text[at - length : at]][character] += 1
    return counts


def loss(part: str, counts: Counts) -> float:
    """Mean negative log-likelihood, nats per character.

    Raises:
        ValueError: If a character of the part is none of the training part.
    """
    alphabet, total = counts[""], 0.0
    for at in range(CONTEXT, len(part)):
        if part[at] not in alphabet:
            raise ValueError(f"{part[at]!r} does not occur in the training part.")
        likelihood = 1 / len(alphabet)
        for length in range(CONTEXT + 1):
            followers = counts.get(part[at - length : at])
            if followers is None:
                break
            seen, kinds = followers.total(), len(followers)
            likelihood = (followers[part[at]] + kinds * likelihood) / (seen + kinds)
        total -= math.log(likelihood)
    return total / (len(part) - CONTEXT)


def main() -> None:
    """Print both for the two parts."""
    text = decode(read_bytes(sys.argv[1]), sys.argv[1])
    parts = contiguous(len(text), DEFAULT_SPLIT, "characters")
    training, *others = (text[part.start : part.stop] for part in parts)
    counts, known = counted(training), set(re.findall(r"\w+", training))
    for name, part in zip(("validation", "test"), others, strict=True):
        words = re.findall(r"\w+", part)
        new = sum(word not in known for word in words) / len(words)
        print(
            f"{name}: {100 * new:.1f} % of {len(words):,} words are not in the training part; "
            f"{loss(part, counts):.3f} nats/char after {CONTEXT} characters"
        )


if __name__ == "__main__":
    main()
