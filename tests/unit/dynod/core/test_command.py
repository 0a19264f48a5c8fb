"""How a command is started. That real shells agree is shown in tests/integration/test_commands_in_shells.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.command import analyse, expand_port_for_display, first_word

SHELL = "/bin/bash"


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("gunicorn myproject.wsgi --log-file -", ["gunicorn", "myproject.wsgi", "--log-file", "-"]),
        ("./bin/web  --port=80\t-v", ["./bin/web", "--port=80", "-v"]),
        ("python -c 'import x; print(1)'", ["python", "-c", "import x; print(1)"]),
        ("python -c \"print('a')\"", ["python", "-c", "print('a')"]),
        ("node --name='a b'c", ["node", "--name=a bc"]),
        ("x '' \"\"", ["x", "", ""]),
        ("x 'it\"s'", ["x", 'it"s']),
        ("'my prog' x", ["my prog", "x"]),
        ("x user@host:80,90 50% a+b", ["x", "user@host:80,90", "50%", "a+b"]),
        ("x ünï", ["x", "ünï"]),
        ("x '$HOME' '`id`' '*'", ["x", "$HOME", "`id`", "*"]),
        ("x FOO=1", ["x", "FOO=1"]),
    ],
)
def test_plain_words_need_no_shell(command: str, argv: list[str]) -> None:
    plan = analyse(command, shell=SHELL)
    assert list(plan.argv) == argv
    assert not plan.through_shell


@pytest.mark.parametrize(
    ("command", "to_shell"),
    [
        ("gunicorn -b 0.0.0.0:$PORT app", "exec gunicorn -b 0.0.0.0:$PORT app"),
        ("puma -p ${PORT:-5000}", "exec puma -p ${PORT:-5000}"),
        ("FOO=1 cmd $PORT > f", "FOO=1 exec cmd $PORT > f"),
        ("FOO='a b' BAR=$X cmd", "FOO='a b' BAR=$X exec cmd"),
        ("> f cmd a", "> f exec cmd a"),
        ("cmd 2>&1", "exec cmd 2>&1"),
        ("cmd < in >> out 2>err", "exec cmd < in >> out 2>err"),
        ("cmd &> f", "exec cmd &> f"),
        ("a && b", "a && exec b"),
        ("cd app && FOO=1 npm start", "cd app && FOO=1 exec npm start"),
        ("a || b; c > f", "a || b; c > f".replace("c >", "exec c >")),
        ("a | b && c", "a | b && exec c"),
        ("a;", "exec a;"),
        ("workers -n $(nproc)", "exec workers -n $(nproc)"),
        ('cmd "$A b" \\$x', 'exec cmd "$A b" \\$x'),
        ("cmd *.py ~/x {a,b}", "exec cmd *.py ~/x {a,b}"),
        ("cmd a#b '#'", "exec cmd a#b '#'"),
        ("cmd a! b[1]", "exec cmd a! b[1]"),
    ],
)
def test_where_a_shell_is_needed_it_is_told_to_leave(command: str, to_shell: str) -> None:
    plan = analyse(command, shell=SHELL)
    assert plan.argv == (SHELL, "-c", to_shell)
    assert plan.through_shell


@pytest.mark.parametrize(
    "command",
    [
        "echo hi",
        "cd /tmp",
        "exec cmd",
        "exec cmd $PORT",
        "export A=1; . ./env",
        "source env && true",
        "a | b",
        "a && b | c",
        "a & b",
        "a &",
        "(a)",
        "{ a; }",
        "! a",
        "while true; do a; done",
        "for i in 1 2; do a $i; done",
        "if a; then b; fi",
        "[[ -f x ]] && a",
        "time a $PORT",
        "trap 'b' TERM; a > f",
        "f() { a; }; f",
        "$CMD a",
        "\\a b$X",
        "~/bin/a",
        "`which a` b",
        "a $(b $(c))",
        "a <(b)",
        "a <<EOF",
        "a <<< x",
        "a # and no more",
        "a; ; b",
        "&& a",
        "a &&",
        "a |",
        "a > ",
        "a 'b",
        'a "b',
        "a \\",
        "FOO=1",
        "''",
        "-a $b",
        "alias a=b; a $c",
        "eval a; b $c",
        "a ${X:-'b'}",
        "a ${X:-${Y}}",
        "a $((1+1))",
        "a |& b",
        "a; b &",
    ],
)
def test_what_is_not_a_simple_last_command_goes_to_the_shell_as_it_is(command: str) -> None:
    assert analyse(command, shell=SHELL).argv == (SHELL, "-c", command)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("gunicorn app", "gunicorn"),
        ("./bin/web", "./bin/web"),
        ("'my prog' x", "my prog"),
        ("FOO=1 BAR='a b' gunicorn $X", "gunicorn"),
        ("exec gunicorn -b $PORT", "gunicorn"),
        ("FOO=1 exec gunicorn", "gunicorn"),
        ("gunicorn > f && other", "gunicorn"),
        ("gunicorn | tee f", "gunicorn"),
        ("gunicorn;", "gunicorn"),
        ("env A=1 gunicorn", "env"),
        # not certain:
        ("a || b", None),
        ("a; b", None),
        ("a & b", None),
        ("cd app && npm start", None),
        ("echo hi", None),
        ("exec", None),
        ("exec -a name cmd $x", None),
        ("$CMD x", None),
        ("bin/$CMD x", None),
        ("~/bin/x", None),
        ("bin/* x", None),
        ("PATH=bin:$PATH x", None),
        ("FOO=1", None),
        ("while true; do x; done", None),
        ("(x)", None),
        ("'unfinished", None),
    ],
)
def test_the_program_that_must_exist(command: str, word: str | None) -> None:
    assert first_word(command) == word


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("rails server -p $PORT", "rails server -p 20001"),
        ("x ${PORT} ${PORT:-5000} 0.0.0.0:$PORT/", "x 20001 20001 0.0.0.0:20001/"),
        ("x $PORTAL $PORT_2 ${PORTS} ${PORT%1} ${PORT:=1}", "x $PORTAL $PORT_2 ${PORTS} ${PORT%1} ${PORT:=1}"),
        ("x $SECRET $HOME", "x $SECRET $HOME"),
        (r"x \$PORT", r"x \$PORT"),
        ("x PORT", "x PORT"),
    ],
)
def test_only_the_port_is_shown_expanded(command: str, shown: str) -> None:
    assert expand_port_for_display(command, 20001) == shown
    assert expand_port_for_display(command, None) == command


PIECES = st.sampled_from(
    [*"ab ;&|<>()$`\\'\"#~*{}!=[]-2\t", "$X", "${X}", "$(x)", "&&", "||", "FOO=1", "exec", "cd", " "]
)


@given(st.text(min_size=1) | st.lists(PIECES, min_size=1).map("".join))
def test_any_text_gives_a_plan_that_keeps_the_command(command: str) -> None:
    plan = analyse(command, shell=SHELL)
    if plan.through_shell:
        assert plan.argv[:2] == (SHELL, "-c")
        assert plan.argv[2].replace("exec ", "") == command.replace("exec ", "")
    else:
        assert first_word(command) == plan.argv[0]
    word = first_word(command)
    assert word is None or word
