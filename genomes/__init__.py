"""What a recurrent cell is: genomes, their identity, their mutations and their cost."""

from genomes.canonical import canonical
from genomes.cost import multiply_adds, parameter_count
from genomes.equations import equations, parse_equations
from genomes.genome import Genome, InvalidGenome, Node
from genomes.mutation import mutate
from genomes.published import published, published_names
from genomes.space import SearchSpace, random_genome

__all__ = [
    "Genome",
    "InvalidGenome",
    "Node",
    "SearchSpace",
    "canonical",
    "equations",
    "multiply_adds",
    "mutate",
    "parameter_count",
    "parse_equations",
    "published",
    "published_names",
    "random_genome",
]
