"""`RecurrentLayer` and `RecurrentStack`: any genome as an ordinary layer, called like `nn.GRU`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from genomes.genome import Genome
from genomes.program import layout, lower
from workers.engine import ENGINES, check_engine, engine_for


class RecurrentLayer(nn.Module):
    """One layer of the cell a genome describes, unrolled over time.

    Called as ``y, state = layer(x, state)``:

    - x: ``(T, B, input_size)``, or ``(B, T, input_size)`` with ``batch_first``, or a
      ``PackedSequence``;
    - state: ``(S, B, hidden_size)``, zeros if left out; state 0 is the emitted state, so for
      the published ``lstm`` ``state[0]`` is h and ``state[1]`` is c;
    - y: ``(T, B, hidden_size)``, batch-first or packed as x was.

    Initialisation, for any cell: matrices that read x are Glorot uniform, matrices that read a
    state or another node are orthogonal, biases are the genome's ``bias_init``, scale vectors
    are uniform within 1 / sqrt(hidden_size).

    Args:
        genome: The cell, run as written (a search trains ``canonical(genome)``).
        input_size: Width of x.
        hidden_size: Width of the states.
        engine: ``auto``, ``native``, ``torch`` or ``reference``.
        batch_first: Whether x and y put the batch before time.
        reverse: Whether to run from each sequence's end to its start.
        input_dropout: Probability of dropping a component of x, in training: one mask for all
            steps of a sequence (variational dropout, Gal and Ghahramani 2016).
        recurrent_dropout: The same for what linears read of the earlier states.

    Raises:
        ValueError: If the cell reads x element by element and the sizes differ, or a size is
            below 1, or a probability is not in [0, 1), or there is no such engine.
        NativeUnavailable: If the engine is ``native`` and there is no library.
    """

    def __init__(
        self,
        genome: Genome,
        input_size: int,
        hidden_size: int,
        *,
        engine: str = "auto",
        batch_first: bool = False,
        reverse: bool = False,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_probability("input_dropout", input_dropout)
        _check_probability("recurrent_dropout", recurrent_dropout)
        if input_size < 1 or hidden_size < 1:
            raise ValueError(f"sizes must be at least 1, not {input_size} and {hidden_size}.")
        self.program = lower(genome)
        if self.program.needs_equal_sizes and input_size != hidden_size:
            raise ValueError(
                f"this cell uses x element by element, so input_size ({input_size}) must equal "
                f"hidden_size ({hidden_size}). Project x to {hidden_size} features first."
            )
        self.genome, self.input_size, self.hidden_size = genome, input_size, hidden_size
        self.engine = check_engine(engine)
        self.batch_first, self.reverse = batch_first, reverse
        self.input_dropout, self.recurrent_dropout = input_dropout, recurrent_dropout
        self.layout = layout(self.program, input_size, hidden_size)
        numbers = sum(_numbers(w.shape) for w in self.layout)
        self.weights = nn.Parameter(torch.empty(numbers, device=device, dtype=dtype))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights anew by the rule of the class."""
        for weight, view in zip(self.layout, self.named_weights().values(), strict=True):
            if weight.role == "input":
                nn.init.xavier_uniform_(view)
            elif weight.role == "recurrent":
                nn.init.orthogonal_(view)
            elif weight.role == "bias":
                view.fill_(weight.bias_init)
            else:
                bound = self.hidden_size**-0.5
                view.uniform_(-bound, bound)

    def named_weights(self) -> dict[str, Tensor]:
        """Views of the weights by name: ``node{i}_weight_{j}`` (hidden, columns) for source j of
        node i, ``node{i}_bias`` and ``node{i}_scale`` (hidden,)."""
        flat = self.weights
        return {
            w.name: flat[w.offset : w.offset + _numbers(w.shape)].view(w.shape) for w in self.layout
        }

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights by name into the layer.

        Raises:
            ValueError: If a name is missing or unknown, or a shape differs.
        """
        views = self.named_weights()
        if views.keys() != weights.keys():
            wrong = sorted(views.keys() ^ weights.keys())
            raise ValueError(f"weights missing or not of this cell: {', '.join(wrong)}.")
        for name, view in views.items():
            if view.shape != weights[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(weights[name].shape)}, not {tuple(view.shape)}."
                )
            view.copy_(weights[name])

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """See the class. ``lengths`` (B,) gives the lengths of padded, unpacked sequences."""
        return _called(self.run, x, state, lengths, self.batch_first, self.input_size)

    def run(self, x: Tensor, state: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run time-first sequences: x (T, B, input), lengths (B,) or None."""
        if x.dim() != 3 or x.shape[2] != self.input_size or x.shape[0] < 1:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; this layer takes (T, B, {self.input_size}), T >= 1."
            )
        shape = (self.genome.states, x.shape[1], self.hidden_size)
        if state is None:
            state = x.new_zeros(shape)
        elif state.shape != shape:
            raise ValueError(f"state has shape {tuple(state.shape)}; this layer takes {shape}.")
        lengths = None if lengths is None else lengths.to(x.device)
        if self.reverse:
            x = _reversed(x, lengths)
        x_mask, mask = self.masks(x.shape[1])
        if x_mask is not None:
            x = x * x_mask
        run = ENGINES[engine_for(self.engine, x.device, x.dtype)]
        y, state = run(self.program, self.weights, x, state, lengths, mask)
        return (_reversed(y, lengths) if self.reverse else y), state

    def masks(self, batch: int) -> tuple[Tensor | None, Tensor | None]:
        """Dropout masks for so many sequences, drawn from torch's generator: of x
        (batch, input_size) and of the states (S, batch, hidden_size); None where nothing is
        dropped, always None in evaluation mode."""
        if not self.training:
            return None, None
        shape = (self.genome.states, batch, self.hidden_size)
        return (
            dropout_mask(self.weights, self.input_dropout, (batch, self.input_size)),
            dropout_mask(self.weights, self.recurrent_dropout, shape),
        )

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, cell={self.genome.digest[:8]}"


class RecurrentStack(nn.Module):
    """Layers of one cell on top of each other, like ``nn.GRU`` with ``num_layers``.

    Called as ``y, state = stack(x, state)``, x as for :class:`RecurrentLayer`, y
    ``(T, B, directions * hidden_size)``, state ``(num_layers * directions, S, B, hidden_size)``,
    layer by layer, forward before backward.

    Args:
        genome: The cell.
        input_size: Width of x.
        hidden_size: Width of the states.
        num_layers: Layers.
        dropout: Probability of dropping a component between layers, in training, at each step anew.
        bidirectional: Whether each layer also runs backward.
        engine: ``auto``, ``native``, ``torch`` or ``reference``.
        batch_first: Whether x and y put the batch before time.
        input_dropout: Variational dropout of what each layer reads: one mask for all steps.
        recurrent_dropout: Variational dropout of the earlier states, in each layer.
    """

    def __init__(
        self,
        genome: Genome,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        engine: str = "auto",
        batch_first: bool = False,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_probability("dropout", dropout)
        if num_layers < 1:
            raise ValueError(f"num_layers is {num_layers}; a stack has at least 1 layer.")
        self.input_size = input_size
        self.directions = 2 if bidirectional else 1
        self.batch_first = batch_first
        self.dropout = dropout
        self.layers = nn.ModuleList(
            RecurrentLayer(
                genome,
                input_size if level == 0 else self.directions * hidden_size,
                hidden_size,
                engine=engine,
                reverse=backward,
                input_dropout=input_dropout,
                recurrent_dropout=recurrent_dropout,
                device=device,
                dtype=dtype,
            )
            for level in range(num_layers)
            for backward in ([False, True] if bidirectional else [False])
        )

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """See the class. ``lengths`` (B,) gives the lengths of padded, unpacked sequences."""
        return _called(self.run, x, state, lengths, self.batch_first, self.input_size)

    def mask_between(self, level: int, shape: Sequence[int]) -> Tensor | None:
        """The dropout mask of what the layer at ``level`` reads, drawn from torch's generator;
        None for the first layer, without dropout, and in evaluation mode."""
        if not level or not self.training:
            return None
        return dropout_mask(self.recurrent_layers()[0].weights, self.dropout, shape)

    def recurrent_layers(self) -> list[RecurrentLayer]:
        """The layers, level by level, forward before backward."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def run(self, x: Tensor, state: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run time-first sequences: x (T, B, input), lengths (B,) or None."""
        if state is not None and (state.dim() != 4 or state.shape[0] != len(self.layers)):
            raise ValueError(
                f"state has shape {tuple(state.shape)}; this stack takes "
                f"({len(self.layers)}, S, B, hidden)."
            )
        finals = []
        layers = self.recurrent_layers()
        for level in range(0, len(layers), self.directions):
            between = self.mask_between(level, x.shape)
            if between is not None:
                x = x * between
            outputs = []
            for k in range(level, level + self.directions):
                y, final = layers[k].run(x, None if state is None else state[k], lengths)
                outputs.append(y)
                finals.append(final)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        return x, torch.stack(finals)


def dropout_mask(like: Tensor, probability: float, shape: Sequence[int]) -> Tensor | None:
    """Zeros with this probability, else 1 / (1 - probability); None if nothing is dropped."""
    if not probability:
        return None
    mask = torch.empty(shape, dtype=like.dtype, device=like.device)
    return mask.bernoulli_(1 - probability).div_(1 - probability)


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a probability from 0 to below 1.")


def _numbers(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) == 2 else 1)


Run = Callable[[Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]


def _called(
    run: Run,
    x: Tensor | PackedSequence,
    state: Tensor | None,
    lengths: Tensor | None,
    batch_first: bool,
    input_size: int,
) -> tuple[Tensor | PackedSequence, Tensor]:
    """Run time-first, and give y the form that x had."""
    if isinstance(x, PackedSequence):
        padded, packed_lengths = pad_packed_sequence(x)
        y, state = run(padded, state, packed_lengths)
        return _packed_like(x, y, packed_lengths), state
    _check(x, lengths, batch_first, input_size)
    if batch_first:
        y, state = run(x.transpose(0, 1), state, lengths)
        return y.transpose(0, 1), state
    return run(x, state, lengths)


def _check(x: Tensor, lengths: Tensor | None, batch_first: bool, input_size: int) -> None:
    layout = f"(B, T, {input_size})" if batch_first else f"(T, B, {input_size})"
    if x.dim() != 3 or x.shape[2] != input_size or x.shape[int(batch_first)] < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}; this layer takes {layout} with T >= 1.")
    if lengths is None:
        return
    steps, batch = x.shape[int(batch_first)], x.shape[1 - int(batch_first)]
    if not isinstance(lengths, Tensor) or lengths.shape != (batch,):
        raise ValueError(f"lengths must be a tensor of shape ({batch},), one for each sequence.")
    if batch and (lengths.min() < 1 or lengths.max() > steps):
        raise ValueError(
            f"lengths go from {int(lengths.min())} to {int(lengths.max())}, but must lie in 1 to "
            f"{steps}, the time steps of x."
        )


def _packed_like(x: PackedSequence, y: Tensor, lengths: Tensor) -> PackedSequence:
    # pad_packed_sequence has restored the caller's order; packing sorts it again the same way.
    return pack_padded_sequence(y, lengths, enforce_sorted=x.sorted_indices is None)


def _reversed(sequences: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence back to front, within its own length; what lies behind stays in place."""
    if lengths is None:
        return sequences.flip(0)
    times = torch.arange(sequences.shape[0], device=sequences.device)[:, None]
    index = torch.where(times < lengths[None, :], lengths[None, :] - 1 - times, times)
    return sequences.gather(0, index[:, :, None].expand_as(sequences))
