"""What is understood of the shell in a cluster's file."""

from __future__ import annotations

import pytest

from evo_nas.cluster.commands import Simple, simple_commands


def test_shell_lines_are_taken_apart_with_the_variables_that_reach_each_command() -> None:
    line = 'A=1; export B="x y" C=2 && ~/bin/ray start --head D=3 | tee log || E=4 ray stop'
    assert simple_commands(line) == [
        Simple(("~/bin/ray", "start", "--head", "D=3"), {"B": "x y", "C": "2"}),
        Simple(("tee", "log"), {"B": "x y", "C": "2"}),
        Simple(("ray", "stop"), {"B": "x y", "C": "2", "E": "4"}),
    ]
    first = simple_commands("ray start --port=1 --port 2 --ports=3")[0]
    assert first.values("--port") == ["1", "2"]
    assert first.runs("ray", "start") and not first.runs("ray", "stop")


@pytest.mark.parametrize(
    ("line", "reach"),
    [
        ("A=1; ray start", {}),
        ("A=1; export A; ray start", {"A": "1"}),
        ("export A; A=1; ray start", {"A": "1"}),
        ("export A=1; unset A; ray start", {}),
        ("export A=1; export -n A; ray start", {}),
        ("export -n A=1; ray start", {}),
        ("export A=1 B=2; A=3; ray start", {"A": "3", "B": "2"}),
        ("(export A=1); ray start", {}),
        ("export A=1; (unset A; true); ray start", {"A": "1"}),
        ("env A=1 nohup ray start", {"A": "1"}),
        ("export A=1; if true; then exec ray start; fi", {"A": "1"}),
        ("ray start # export A=1", {}),
        ("export A='#1' # more\nray start", {"A": "#1"}),
    ],
)
def test_only_what_is_exported_reaches_a_command(line: str, reach: dict[str, str]) -> None:
    (found,) = (simple for simple in simple_commands(line) if simple.runs("ray", "start"))
    assert found == Simple(("ray", "start"), reach)


def test_where_output_goes_is_no_word_of_a_command() -> None:
    line = "pip install a==1 > log 2>&1; x 2 >>'a b' <<< in &> all; echo \\> '>'"
    assert [simple.words for simple in simple_commands(line)] == [
        *(("pip", "install", "a==1"), ("x", "2"), ("echo", ">", ">"))
    ]
    for broken in ("echo 'a", 'echo "', "echo a\\"):
        with pytest.raises(ValueError, match="No closing quotation"):
            simple_commands(broken)
