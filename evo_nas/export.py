"""Takes a cell home: stand-alone source, and on request the trained weights."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

from evo_nas.births import Births
from evo_nas.config_tables import SearchConfig
from evo_nas.interrupt import ctrl_c_held_back
from evo_nas.record import Header
from genomes.canonical import canonical
from genomes.genome import Genome
from genomes.readable import readable
from genomes.source import python_source


def export_source(births: Births, header: Header, birth: int) -> str:
    """The Python source of a birth's cell, as it was trained (its canonical form).

    Raises:
        LineageError: If there is no such birth.
    """
    asked, told = births.events(birth)
    note = f"Birth {birth} of a search on the task {header.task!r}, digest {asked.digest}."
    if told is not None and told.metric is not None:
        unit = f" {header.unit}" if header.unit else ""
        end = f" after {told.steps} of {asked.budget} steps" if told.status == "stopped" else ""
        note += (
            f" Validation {header.metric} {told.metric:.4f}{unit}{end}, "
            f"{told.parameters:,} parameters, "
            f"hidden size {asked.hidden_size}."
        )
    return python_source(canonical(Genome.from_json(asked.genome)), note=readable(note))


def export_weights(
    births: Births,
    header: Header,
    birth: int,
    path: Path,
    config: SearchConfig,
    threads: int = 1,
) -> float:
    """Train a birth again exactly as in the search, and write its recurrent layers' weights.

    One that was stopped at a hurdle is trained to the end of its budget.

    The file is safetensors; names are ``layer{l}.`` followed by the names in the exported source.

    Args:
        config: The run's, with the data where they lie now.
        threads: Of the training. Where the native engine trains whole steps, any number gives the
            same weights; elsewhere sums that are split over threads differ in the last bits.

    Returns:
        The metric reached: with one thread and the engine of the record, equal to the recorded one
        on the same machine type.
    """
    with ctrl_c_held_back():
        torch = importlib.import_module("torch")
    from safetensors.torch import save_file

    from evo_nas.setting import load_same_data, prepare_engine
    from workers.messages import Request
    from workers.training import trained

    asked, told = births.events(birth)
    prepare_engine(config, [] if told is None else [told.engine])
    training = replace(config.training, hidden_size=asked.hidden_size)
    request = Request(birth, asked.genome, asked.seed, training)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums split over threads differ in the last bits
    try:
        model, metric = trained(request, load_same_data(config, header), threads)
    finally:
        torch.set_num_threads(before)
    tensors = {
        f"layer{number}.{name}": tensor.detach().cpu().clone()
        for number, layer in enumerate(model.recurrent.recurrent_layers())
        for name, tensor in layer.named_weights().items()
    }
    save_file(tensors, path, metadata={"birth": str(birth), "digest": asked.digest})
    return metric
