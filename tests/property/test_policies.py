"""Random policies together: the table says what the specification says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit import policyworld as world
from tests.unit.policyworld import PEERS, PORT_LISTS, PROBES, SELECTORS

from windrow.policy import Packet, allows

THERE = world.places()
SPECS = st.tuples(
    st.sampled_from(SELECTORS),
    st.sampled_from(("", ", policyTypes: [Ingress]", ", policyTypes: [Egress]", ", policyTypes: [Ingress, Egress]")),
    *(
        st.lists(st.tuples(st.lists(st.sampled_from(PEERS), max_size=3), st.sampled_from(PORT_LISTS)), max_size=2)
        for _ in range(2)
    ),
)


def spec_text(parts: tuple[str, str, list[tuple[list[str], str]], list[tuple[list[str], str]]]) -> str:
    selector, types, *sides = parts
    text = f"{{podSelector: {selector}{types}"
    for key, peers_key, rules in (("ingress", "from", sides[0]), ("egress", "to", sides[1])):
        listed = [
            f"{{{peers_key}: [{', '.join(peers)}]{f', ports: {ports}' if ports else ''}}}" for peers, ports in rules
        ]
        text += f", {key}: [{', '.join(listed)}]" if rules else ""
    return text + "}"


@settings(derandomize=True, max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from("xyz"), SPECS), min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from(list(world.pairs(THERE))), st.sampled_from(PROBES)), min_size=1, max_size=20),
)
def test_any_policies_together(
    policies: list[tuple[str, object]], probes: list[tuple[tuple[str, str], tuple[str, int]]]
) -> None:
    made = []
    for number, (namespace, parts) in enumerate(policies):
        text = world.HEAD.format(namespace=namespace, spec=spec_text(parts))  # type: ignore[arg-type]
        made += world.loaded(text.replace("name: p,", f"name: p{number},"))
    objects = world.cluster(made, THERE)
    tables = world.tables(objects, THERE)
    for (source, destination), (protocol, port) in probes:
        packet = Packet(source=source, destination=destination, protocol=protocol, port=port)
        assert world.passes(tables, THERE, packet) is allows(objects, packet).allowed, packet
