"""Templates, sentence by sentence of the specification."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from outlast.runbooks.faults import DefinitionRefused
from outlast.runbooks.templates import TemplateFailed, compile_template, compile_value

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PAYLOAD: dict[str, Any] = {
    "finding": {
        "title": "SQL <injection> & 'more'",
        "severity": "high",
        "count": 3,
        "ratio": 0.5,
        "tags": ["web", "api"],
        "owner": {"name": "Zoë", "team": None},
        "open": True,
        "created": "2026-02-28T23:30:00.250+01:00",
    },
    "d": {"items": [{"n": 2, "k": "b"}, {"n": 1, "k": "a"}, {"n": 3, "k": "B"}], "keys": 7, "append": [1]},
    "steps": {"page": {"output": {"id": 7}}, "1": {"output": "first"}},
}


def render(text: str, payload: Any = None) -> Any:
    return compile_template(text).render(PAYLOAD if payload is None else payload, NOW)


def failure(text: str, payload: Any = None) -> TemplateFailed:
    with pytest.raises(TemplateFailed) as failed:
        compile_template(text, "config.x").render(PAYLOAD if payload is None else payload, NOW)
    return failed.value


def refusal(text: str) -> str:
    with pytest.raises(DefinitionRefused) as refused:
        compile_template(text, "config.x")
    assert refused.value.path == "config.x"
    return refused.value.message


# ---- placeholders and text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ finding.count }}", 3),
        ("{{finding.count}}", 3),
        ("{{ finding.ratio }}", 0.5),
        ("{{ finding.tags }}", ["web", "api"]),
        ("{{ finding.owner }}", {"name": "Zoë", "team": None}),
        ("{{ finding.owner.team }}", None),
        ("{{ finding.open }}", True),
        ("{{ finding.title }}", "SQL <injection> & 'more'"),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("{{ [1, 'x', none, true] }}", [1, "x", None, True]),
        ("{{ '}}' }}", "}}"),
        ('{{ "{{" }}', "{{"),
    ],
)
def test_a_value_that_is_one_placeholder_keeps_its_type(text: str, value: Any) -> None:
    found = render(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" {{ finding.count }}", " 3"),
        ("{{ finding.count }}\n", "3\n"),
        ("{{ finding.count }}{{ finding.ratio }}", "30.5"),
        ("a {{ finding.owner.team }} b", "a  b"),
        ("x{{ finding.open }}", "xtrue"),
        ("x{{ not finding.open }}", "xfalse"),
        ("x{{ finding.tags }}", 'x["web", "api"]'),
        ("x{{ finding.owner }}", 'x{"name": "Zoë", "team": null}'),
        ("{{ finding.title }}!", "SQL <injection> & 'more'!"),
        ("plain", "plain"),
        ("", ""),
        ("a }} b", "a }} b"),
        ("a { b } c", "a { b } c"),
        ("line\r\n{{ 1 }}\r\n", "line\r\n1\r\n"),
    ],
)
def test_any_text_beside_a_placeholder_makes_it_text(text: str, value: str) -> None:
    assert render(text) == value


def test_what_looks_like_a_method_is_the_payloads_key() -> None:
    assert render("{{ d.items }}") == PAYLOAD["d"]["items"]
    assert render("{{ d.keys }}") == 7
    assert render("{{ d.append[0] }}") == 1
    for text in (
        "{{ finding.title.upper }}",
        "{{ finding.tags.append }}",
        "{{ d.values }}",
        "{{ d.items.sort }}",
    ):
        assert failure(text).path == text[3:-3]
    for text in ("{{ finding.count.real }}", "{{ finding.title['upper'] }}", "{{ finding.owner.get }}"):
        failure(text)


def test_earlier_actions_are_read_by_their_id() -> None:
    assert render("{{ steps.page.output.id }}") == 7
    assert render("{{ steps['page'].output.id }}") == 7
    assert render("{{ steps.1.output }}") == "first"


# ---- undefined


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{{ nope }}", "nope"),
        ("{{ finding.nope }}", "finding.nope"),
        ("{{ finding.nope.deeper }}", "finding.nope.deeper"),
        ("{{ finding['nope'] }}", "finding.nope"),
        ("{{ finding.tags[5] }}", "finding.tags[5]"),
        ("{{ finding.tags[-3] }}", "finding.tags[-3]"),
        ("text {{ finding.nope }}", "finding.nope"),
        ("{{ finding.nope | upper }}", "finding.nope"),
        ("{{ finding.nope | upper | default('x') }}", "finding.nope"),
        ("{{ finding.nope ~ 'x' }}", "finding.nope"),
        ("{{ finding.nope + 1 }}", "finding.nope"),
        ("{{ finding.nope == 1 }}", "finding.nope"),
        ("{{ 1 if finding.nope else 2 }}", "finding.nope"),
        ("{{ not finding.nope }}", "finding.nope"),
        ("{{ finding.nope or 1 }}", "finding.nope"),
        ("{{ [1, finding.nope] }}", "finding.nope"),
        ("{{ {'a': [finding.nope]} }}", "finding.nope"),
        ("{{ d.items | map(attribute='zz') }}", "zz"),
        ("{{ finding.count | default(finding.nope) ~ nope }}", "nope"),
    ],
)
def test_an_undefined_name_fails_with_its_path(text: str, path: str) -> None:
    failed = failure(text)
    assert failed.path == path
    assert failed.at == "config.x"
    assert path in str(failed)


def test_default_is_for_those_who_want_it() -> None:
    assert render("{{ finding.nope | default('none') }}") == "none"
    assert render("{{ finding.nope.deeper[3].x | default(0) }}") == 0
    assert render("{{ [1, nope] | default('list') }}") == "list"
    assert render("{{ {'a': nope} | default('object') }}") == "object"
    assert render("{{ finding.owner.team | default('x') }}") is None
    assert render("{{ finding.owner.team | default('x', true) }}") == "x"
    assert render("{{ finding.count | default(nope) }}") == 3
    assert render("{{ [] | first | default('empty') }}") == "empty"
    assert render("{{ (1 if false) | default('no else') }}") == "no else"
    assert render("{{ finding.nope is defined }}") is False
    assert render("{{ finding.count if finding.nope is undefined else 0 }}") == 3


# ---- expressions


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("7 / 2", 3.5),
        ("7 // 2", 3),
        ("7 % 4", 3),
        ("2 ** 10", 1024),
        ("-finding.count", -3),
        ("'a' ~ 1 ~ none ~ true", "a1true"),
        ("1 < 2 < 3", True),
        ("1 < 2 > 3", False),
        ("1 == 1.0", True),
        ("1 == true", False),
        ("'1' == 1", False),
        ("finding.tags == ['web', 'api']", True),
        ("'web' in finding.tags", True),
        ("'x' not in finding.tags", True),
        ("'inject' in finding.title", True),
        ("'name' in finding.owner", True),
        ("finding.count > 2 and finding.open", True),
        ("finding.count > 5 or 'else'", "else"),
        ("'yes' if finding.open else 'no'", "yes"),
        ("finding.tags[0]", "web"),
        ("finding.tags[-1]", "api"),
        ("finding.tags[1:]", ["api"]),
        ("finding.title[:3]", "SQL"),
        ("finding.count is divisibleby(3)", True),
        ("finding.count is number", True),
        ("finding.open is number", False),
        ("'2026-03-01T12:00:00Z' == '2026-03-01T13:00:00+01:00'", True),
        ("'2026-03-01T12:00:00Z' > finding.created", True),
        ("sev(finding.severity) >= sev('medium')", True),
        ("sev('critical') > sev('high')", True),
        ("[sev('info'), sev('low'), sev('medium'), sev('high'), sev('critical')]", [0, 1, 2, 3, 4]),
        ("now", "2026-03-01T12:00:00Z"),
        ("now()", "2026-03-01T12:00:00Z"),
    ],
)
def test_expressions(expression: str, value: Any) -> None:
    found = render(f"{{{{ {expression} }}}}")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'aB' | upper", "AB"),
        ("'aB' | lower", "ab"),
        ("'the big (one) x-ray' | title", "The Big (One) X-Ray"),
        ("'  a ' | trim", "a"),
        ("'--a-' | trim('-')", "a"),
        ("'aXbXc' | replace('X', '-')", "a-b-c"),
        ("'aXbXc' | replace('X', '-', 1)", "a-bXc"),
        ("finding.tags | join(', ')", "web, api"),
        ("[1, none, true] | join('|')", "1||true"),
        ("d.items | join('', attribute='k')", "baB"),
        ("'a,b,c' | split(',')", ["a", "b", "c"]),
        ("'a,b,c' | split(',', 1)", ["a", "b,c"]),
        ("' a  b ' | split", ["a", "b"]),
        ("finding.tags | first", "web"),
        ("finding.tags | last", "api"),
        ("finding.tags | length", 2),
        ("finding.owner | length", 2),
        ("'Zoë' | length", 3),
        ("['a', 'A', 'b', 1, true, 1.0] | unique", ["a", "b", 1, True]),
        ("['a', 'A'] | unique(case_sensitive=true)", ["a", "A"]),
        ("[{'a': 1}, {'a': 1}] | unique", [{"a": 1}]),
        ("[3, 1, 2] | sort", [1, 2, 3]),
        ("['b', 'A', 'c'] | sort(reverse=true)", ["c", "b", "A"]),
        ("d.items | sort(attribute='n') | map(attribute='n')", [1, 2, 3]),
        ("d.items | map('k')", ["b", "a", "B"]),
        ("d.items | map(attribute='zz', default='-')", ["-", "-", "-"]),
        ("finding.tags | map('upper')", ["WEB", "API"]),
        ("d.items | select('n', 'gt', 1) | map('n')", [2, 3]),
        ("d.items | reject('n', 'gt', 1) | map('n')", [1]),
        ("d.items | select(attribute='k', test='in', value=['a', 'b']) | length", 2),
        ("[1, 2, 3] | select('odd')", [1, 3]),
        ("[1, 2, 3] | reject('in', [2])", [1, 3]),
        ("[{'x': 1}, {}] | select('x', 'defined') | length", 1),
        ("[{'x': true}, {'x': false}] | select('x') | length", 1),
        ("2.567 | round(1)", 2.6),
        ("2.1 | round(method='ceil')", 3.0),
        ("2.9 | round(0, 'floor')", 2.0),
        ("'42' | int", 42),
        ("'4.7' | int", 4),
        ("'x' | int", 0),
        ("'x' | int(-1)", -1),
        ("'ff' | int(base=16)", 255),
        ("'1.5' | float", 1.5),
        ("'inf' | float", 0.0),
        ("7 | string", "7"),
        ("none | string", ""),
        ("-3 | abs", 3),
        ("[3, 1, 2] | min", 1),
        ("[3, 1, 2] | max", 3),
        ("[1, 2.5] | sum", 3.5),
        ("d.items | sum('n')", 6),
        ("finding.owner | tojson", '{"name": "Zoë", "team": null}'),
        ("'a\"<b>' | tojson", '"a\\"<b>"'),
        ("finding.created | date", "2026-02-28"),
        ("finding.created | date('%d.%m.%Y %H:%M', 'Europe/Berlin')", "28.02.2026 23:30"),
        ("finding.created | date('%A %d %B %Y, %I %p %Z %z', 'America/New_York')",
         "Saturday 28 February 2026, 05 PM EST -0500"),
        ("now | date('%Y-%m-%dT%H:%M:%S.%f %%')", "2026-03-01T12:00:00.000000 %"),
        ("now | plus('2h')", "2026-03-01T14:00:00Z"),
        ("now | minus('7d')", "2026-02-22T12:00:00Z"),
        ("finding.created | plus('45m')", "2026-03-01T00:15:00.250+01:00"),
        ("'a b&c/d' | urlencode", "a%20b%26c/d"),
        ("{'q': 'a b', 'n': 1} | urlencode", "q=a+b&n=1"),
        ("'Zoë' | b64encode", "Wm/Dqw=="),
        ("'abc' | sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("'foo bar baz qux' | truncate(9, leeway=0)", "foo..."),
        ("'foo bar baz qux' | truncate(9, true, leeway=0)", "foo ba..."),
        ("'foo bar baz qux' | truncate(11)", "foo bar baz qux"),
        ("'foo bar baz qux' | truncate(9, end='!', leeway=0)", "foo bar!"),
    ],
)  # fmt: skip
def test_filters(expression: str, value: Any) -> None:
    found = render(f"{{{{ {expression} }}}}")
    assert found == value
    assert type(found) is type(value)


# ---- refused at save


@pytest.mark.parametrize(
    "text",
    [
        "{% if x %}a{% endif %}",
        "{% raw %}{{ x }}{% endraw %}",
        "{# note #}",
        "{{ }}",
        "{{ x",
        "{{ x } }",
        "{{ 'x }}",
        "{{- x }}",
        "{{ x -}}",
        "{{ x y }}",
        "{{ x | }}",
        "{{ a, b }}",
        "{{ ''.__class__ }}",
        "{{ finding.__class__.__mro__ }}",
        "{{ finding['__class__'] }}",
        "{{ __builtins__ }}",
        "{{ finding.title.upper() }}",
        "{{ d.items() }}",
        "{{ range(10) }}",
        "{{ lipsum() }}",
        "{{ cycler(1) }}",
        "{{ self._TemplateReference__context() }}",
        "{{ upper('x') }}",
        "{{ x | attr('y') }}",
        "{{ x | safe }}",
        "{{ x | format(1) }}",
        "{{ x | xmlattr }}",
        "{{ x | pprint }}",
        "{{ x | map('upper', *y) }}",
        "{{ x | upper(1) }}",
        "{{ x | replace('a') }}",
        "{{ x | join(separator=',') }}",
        "{{ x | join(',', d=';') }}",
        "{{ x is callable }}",
        "{{ x is divisibleby }}",
        "{{ x is filter }}",
        "{{ sev }}",
        "{{ sev() }}",
        "{{ sev('urgent') }}",
        "{{ finding.severity >= 'high' }}",
        "{{ 1e999 }}",
        "{{ 99999999999999999999 }}",
        "{{ " + "9" * 5000 + " }}",
        "{{ x | date('%Q') }}",
        "{{ x | date('%999999d') }}",
        "{{ x | date('%Y', 'Mars/Olympus') }}",
        "{{ x | date('%Y', '../../etc/passwd') }}",
        "{{ x | plus('2 hours') }}",
        "{{ x | minus(5) }}",
        "{{ x | select('a', 'nonsense') }}",
        "{{ x | select('eq') }}",
        "{{ x | map }}",
        "{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}",
        "{{ " + "not " * 500 + "x }}",
        "{{ " + "x.a" + ".a" * 100 + " }}",
        "{{ " + "x ~ " * 2000 + "x }}",
        "a\x00b",
        "\ud800",
        "x" * 65_537,
    ],
)
def test_what_the_language_does_not_have_is_refused_when_saved(text: str) -> None:
    assert refusal(text)


def test_a_refusal_suggests_what_was_meant() -> None:
    assert refusal("{{ x | uper }}") == 'unknown filter "uper"; did you mean "upper"?'
    assert refusal("{{ upper(x) }}") == "upper is a filter: write {{ value | upper }}"
    assert 'sev(x) >= sev("high")' in refusal("{{ finding.severity >= 'high' }}")


# ---- failures at run time


@pytest.mark.parametrize(
    "expression",
    [
        "'a' + 'b'",
        "'a' * 3",
        "[1] + [2]",
        "true + 1",
        "'%s' % 3",
        "1 / 0",
        "1 % 0",
        "9 ** 9 ** 9",
        "0 ** -1",
        "(-8) ** 0.5",
        "9223372036854775807 + 1",
        "1e308 * 10",
        "1 < 'a'",
        "none < 1",
        "true < 2",
        "[1] < [2]",
        "1 in 5",
        "finding.count | length",
        "finding.count | join",
        "['a', 1] | sort",
        "[none] | sort",
        "['a'] | sum",
        "'x' | round",
        "2.5 | round(1000000)",
        "'x' | abs",
        "finding.title | date",
        "'2026-03-01T12:00:00' | date",
        "finding.count | plus('1h')",
        "now | plus('999999999d')",
        "now | date(finding.title ~ '%Q')",
        "sev(finding.title)",
        "sev(finding.count)",
        "'abc' | truncate(1)",
        "'abc' | split('')",
        "finding.title[::0]",
        "{1: 2}",
    ],
)
def test_what_has_no_value_fails_at_its_place(expression: str) -> None:
    failed = failure(f"{{{{ {expression} }}}}")
    assert failed.path == "config.x"
    assert failed.message


# ---- bounds


BIG: dict[str, Any] = {
    "text": "a" * 60_000,
    "huge": "a b" * 300_000,
    "list": ["abc"] * 30_000,
    "nested": [[["x"] * 100] * 100],
    "rows": [{"k": "x" * 50, "n": i} for i in range(10_000)],
    "same": [{"k": "x" * 50, "n": i} for i in range(10_000)],
}


@pytest.mark.parametrize(
    "expression",
    [
        "text ~ text",
        "text | replace('a', text)",
        "text | replace('', 'xxxx')",
        "[text, text] | join",
        "list | join(text)",
        "huge",
        "huge | upper",
        "huge | split(' ') | map('length')",
        "huge | b64encode",
        "huge | urlencode",
        "huge | tojson",
        "list",
        "list | tojson(8)",
        "rows",
        "[" + "rows, " * 500 + "rows]",
        "[[" + "rows, " * 200 + "rows], [" + "rows, " * 200 + "rows]] | string",
        "[" + "huge, " * 600 + "huge] | unique",
        "[" + "huge, " * 600 + "huge] | sort",
        "[1, " + "rows, " * 300 + "1] == [2, " + "same, " * 300 + "1]",
        "rows | select('k', 'in', list) | select('k', 'in', list) | length",
        "nested | tojson(8)",
    ],
)
def test_time_and_size_are_bounded_whatever_the_payload(expression: str) -> None:
    began = time.process_time()
    failure(f"{{{{ {expression} }}}}", BIG)
    assert time.process_time() - began < 5  # generous: none of them may run away


def test_a_long_text_may_be_read_to_make_a_short_one() -> None:
    assert render("{{ huge | truncate(10, true) }}", BIG) == "a ba ba..."
    assert len(render("{{ huge | sha256 }}", BIG)) == 64
    assert render("{{ huge | length }}", BIG) == 900_000
    assert render("{{ rows | map(attribute='n') | max }}", BIG) == 9_999


def test_a_value_is_capped_at_64_kib_of_utf_8() -> None:
    assert len(render("{{ x }}", {"x": "a" * 65_536})) == 65_536
    assert len(render("{{ x }}", {"x": "ü" * 32_768})) == 32_768
    failure("{{ x }}", {"x": "a" * 65_537})
    failure("{{ x }}", {"x": "ü" * 32_769})
    failure("a{{ x }}", {"x": "a" * 65_536})


# ---- configs


def test_a_config_is_rendered_in_all_its_depth_and_constants_are_left_alone() -> None:
    source: Any = {
        "method": "POST",
        "count": 5,
        "body": {
            "title": "{{ finding.title }}",
            "list": ["x", "{{ finding.count }}", {"k": "n {{ finding.count }}"}],
        },
        "headers": {"X": "constant"},
    }
    before = json.dumps(source)
    value = compile_value(source)
    assert value.render(PAYLOAD, NOW) == {
        "method": "POST",
        "count": 5,
        "body": {"title": "SQL <injection> & 'more'", "list": ["x", 3, {"k": "n 3"}]},
        "headers": {"X": "constant"},
    }
    assert json.dumps(source) == before
    assert not value.is_constant
    assert compile_value({"a": ["b", 1]}).is_constant


def test_all_faults_of_a_config_are_named_with_their_places() -> None:
    with pytest.raises(DefinitionRefused) as refused:
        compile_value(
            {"a": "{{ x( }}", "b": ["{{ 1 }}", {"c": "{{ x|nope }}"}], "{{ k }}": 1}, "actions[0].config"
        )
    assert [fault.path for fault in refused.value.faults] == [
        "actions[0].config.a",
        "actions[0].config.b[1].c",
        "actions[0].config",
    ]


def test_a_failing_config_names_the_place_and_the_name() -> None:
    value = compile_value(
        {"body": {"list": ["{{ finding.count }}", "{{ finding.nope }}"]}}, "actions[2].config"
    )
    with pytest.raises(TemplateFailed) as failed:
        value.render(PAYLOAD, NOW)
    assert failed.value.at == "actions[2].config.body.list[1]"
    assert failed.value.path == "finding.nope"


def test_now_is_what_the_caller_froze_and_undefined_without_it() -> None:
    assert compile_template("{{ now }}").render({"now": "payload"}, NOW) == "2026-03-01T12:00:00Z"
    with pytest.raises(TemplateFailed):
        compile_template("{{ now }}").render({}, None)
