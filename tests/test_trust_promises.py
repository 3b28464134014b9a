"""Every promise of the documentation names tests that exist."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def test_every_promise_has_a_test():
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    section = text.partition("## Promises\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 10
    for promise, tests in rows:
        names = re.findall(r"`(\w+\.py)`", tests)
        assert names, promise
        for name in names:
            assert re.search(r"^def test_", (ROOT / "tests" / name).read_text(encoding="utf-8"), re.MULTILINE), name


def test_the_policy_leads_to_the_promises():
    assert "(docs/trust.md#promises)" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
