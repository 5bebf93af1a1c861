"""kubectl's templates, with the answers that kubectl gives (its documentation's examples among them)."""

from __future__ import annotations

from typing import Any

import pytest

from windrow.render.jsonpath import BadPath, path, rendered, template, values

DOCUMENT: dict[str, Any] = {
    "kind": "List",
    "items": [
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "127.0.0.1"}},
            "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]},
        },
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.2"},
            "status": {
                "capacity": {"cpu": "8"},
                "addresses": [
                    {"type": "LegacyHostIP", "address": "127.0.0.2"},
                    {"type": "another", "address": "127.0.0.3"},
                ],
            },
        },
    ],
    "users": [{"name": "myself", "user": {}, "age": 3}, {"name": "e2e", "user": {"password": "x"}, "age": 30}],
    "ready": True,
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{.kind}", "List"),
        (".kind", "List"),
        ("kind", "List"),
        ("{$.kind}", "List"),
        ("the kind is {.kind}", "the kind is List"),
        ("{['kind']}", "List"),
        ('{["kind"]}', "List"),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
        ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.users[0].name}", "myself"),
        ("{.users[-1].name}", "e2e"),
        ("{.users[0:1].name}", "myself"),
        ("{.users[:].name}", "myself e2e"),
        ("{.users[9].name}", ""),
        ("{.nothing.at.all}", ""),
        ("{.ready}", "true"),
        ("{.users[1].user}", '{"password":"x"}'),
        ("{.items[0].metadata.labels.kubernetes\\.io/hostname}", "127.0.0.1"),
        ("{.items[0].metadata.labels['kubernetes.io/hostname']}", "127.0.0.1"),
        ('{.users[?(@.name=="e2e")].user.password}', "x"),
        ("{.users[?(@.age>3)].name}", "e2e"),
        ("{.users[?(@.age>=3)].name}", "myself e2e"),
        ("{.users[?(@.name!='e2e')].name}", "myself"),
        ("{.users[?(@.user.password)].name}", "e2e"),
        ("{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}",
         '[127.0.0.1, {"cpu":"4"}] [127.0.0.2, {"cpu":"8"}] '),
        ('{range .items[*]}{.metadata.name}{"\\t"}{range .status.addresses[*]}{.address},{end}{"\\n"}{end}',
         "127.0.0.1\t127.0.0.1,\n127.0.0.2\t127.0.0.2,127.0.0.3,\n"),
        ("{@.kind}", "List"),
        ('{"{.kind}"}', "{.kind}"),
    ],
)  # fmt: skip
def test_what_a_template_says(text: str, said: str) -> None:
    assert rendered(template(text), DOCUMENT) == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{.kind", "has no closing brace"),
        ("{range .items[*]}{.kind}", "{range} has no {end}"),
        ("{end}", "{end} without {range}"),
        ("{.items[x]}", "[x] is no index"),
        ("{.items[?(nonsense)]}", "is no filter"),
        ("{.items[?(@.a==nonsense)]}", "nonsense in ?(@.a==nonsense) is no value"),
        ("{.items[0}", "is no step of a path"),
        ("{}", "is empty"),
        ("{.a b}", "is no step of a path"),
    ],
)
def test_what_is_wrong_with_one(text: str, why: str) -> None:
    with pytest.raises(BadPath, match=None) as caught:
        template(text)
    assert why in str(caught.value)


def test_paths_of_columns_need_no_braces() -> None:
    for text in ("metadata.name", ".metadata.name", "{.metadata.name}", "{metadata.name}"):
        assert values(path(text), DOCUMENT["items"][0]) == ["127.0.0.1"]
