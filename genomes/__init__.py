"""What a recurrent cell is: genomes, their identity, their mutations and their cost."""
