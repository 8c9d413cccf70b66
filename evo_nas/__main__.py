"""``python -m evo_nas`` is ``evo-nas``."""

from evo_nas.cli import main

main(prog_name="evo-nas")
